-- The platform's own table, in a schema of ours.
CREATE TABLE flow_events (
    id BIGSERIAL PRIMARY KEY,
    correlation_id TEXT NOT NULL,
    actor_type TEXT NOT NULL,
    actor_id TEXT,
    event_type TEXT NOT NULL,
    payload JSONB NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX flow_events_by_correlation ON flow_events (correlation_id, created_at);
CREATE INDEX flow_events_by_type ON flow_events (event_type, created_at);
-- Each decision is told once in each of its stages, whoever else tells it at the same time.
CREATE UNIQUE INDEX flow_events_of_a_decision ON flow_events (event_type, (payload ->> 'decision_id'))
    WHERE payload ->> 'decision_id' IS NOT NULL;
CREATE INDEX flow_events_of_a_namespace ON flow_events ((payload ->> 'namespace'), created_at);
