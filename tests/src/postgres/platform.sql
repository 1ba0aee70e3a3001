CREATE TABLE projects (id uuid PRIMARY KEY DEFAULT gen_random_uuid());

CREATE TABLE flow_events (
    id BIGSERIAL PRIMARY KEY,
    correlation_id TEXT NOT NULL,
    actor_type TEXT NOT NULL,
    actor_id TEXT,
    event_type TEXT NOT NULL,
    payload JSONB NOT NULL DEFAULT '{}'::jsonb,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX ON flow_events (correlation_id, created_at);
CREATE INDEX ON flow_events (event_type, created_at);

CREATE TABLE agent_runs (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    correlation_id TEXT NOT NULL UNIQUE,
    project_id UUID REFERENCES projects ON DELETE CASCADE,
    agent_id UUID,
    status TEXT NOT NULL DEFAULT 'pending',
    run_payload JSONB NOT NULL DEFAULT '{}'::jsonb,
    learning_mode BOOLEAN NOT NULL DEFAULT false,
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    agent_logs_json JSONB,
    lease_owner TEXT,
    lease_until TIMESTAMPTZ,
    stale_reclaim_pending BOOLEAN NOT NULL DEFAULT false,
    wait_reason TEXT,
    wait_target_kind TEXT,
    wait_target_ref TEXT,
    wait_deadline_at TIMESTAMPTZ,
    CHECK (status IN ('pending', 'running', 'waiting_backpressure', 'succeeded', 'failed', 'canceled'))
);
CREATE INDEX ON agent_runs (status, started_at);
CREATE INDEX ON agent_runs (project_id, learning_mode, started_at);
CREATE INDEX ON agent_runs (status, lease_until, started_at);
