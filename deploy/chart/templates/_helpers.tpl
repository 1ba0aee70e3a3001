{{- /* Templates that all components share. A component is a dict of `root`, its `component` name, and its `values`. */ -}}

{{/* The labels that select a component's Pods. */}}
{{- define "guard.selector" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* The labels of every object. */}}
{{- define "guard.labels" -}}
{{- $ours := include "guard.selector" . | fromYaml }}
{{- $_ := merge $ours (dict
    "app.kubernetes.io/part-of" "codex-k8s-guard"
    "app.kubernetes.io/version" (include "guard.label" .root.Chart.AppVersion)
    "app.kubernetes.io/managed-by" .root.Release.Service
    "helm.sh/chart" (include "guard.label" (printf "%s-%s" .root.Chart.Name .root.Chart.Version))) }}
{{- toYaml (merge $ours .root.Values.commonLabels) }}
{{- end }}

{{/* A version as a label value: without the + of build metadata, and at most 63 characters. */}}
{{- define "guard.label" -}}
{{- regexReplaceAll "[^A-Za-z0-9_.-]" . "_" | trunc 63 | trimAll "_.-" }}
{{- end }}

{{/* The image. A tag must not contain a +, which appVersion may have. */}}
{{- define "guard.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default (regexReplaceAll "[^A-Za-z0-9_.-]" $.Chart.AppVersion "_" | trunc 128) }}{{ end }}
{{- end }}
{{- end }}

{{/* The name of a component's ServiceAccount. */}}
{{- define "guard.account" -}}
{{- .values.serviceAccount.name | default .component }}
{{- end }}

{{/* The ServiceAccount of a component, unless it exists already. */}}
{{- define "guard.serviceAccount" -}}
{{- if .values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "guard.account" . }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "guard.labels" . | nindent 4 }}
  {{- with .values.serviceAccount.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The metadata of a component's Pods. */}}
{{- define "guard.podMetadata" -}}
labels: {{- toYaml (merge (include "guard.labels" . | fromYaml) .values.podLabels) | nindent 2 }}
{{- with .values.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The parts of a Pod's spec that are the same for every component: identity, placement, network, security. Takes also
     the name of the `account`. */}}
{{- define "guard.podSpec" -}}
serviceAccountName: {{ .account }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
- {{- toYaml (merge (dict) . (dict "labelSelector" (dict "matchLabels" (include "guard.selector" $ | fromYaml)))) | nindent 2 }}
{{- end }}
{{- end }}
{{- if .values.hostNetwork }}
hostNetwork: true
{{- end }}
{{- with .values.dnsPolicy | default (ternary "ClusterFirstWithHostNet" "" (default false .values.hostNetwork)) }}
dnsPolicy: {{ . }}
{{- end }}
{{- with include "guard.securityContext" .root.Values.podSecurityContext }}
securityContext: {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A security context without the fields that are empty. */}}
{{- define "guard.securityContext" -}}
{{- $context := deepCopy . }}
{{- range $field, $value := . }}
{{- if eq (toString $value) "" }}
{{- $_ := unset $context $field }}
{{- end }}
{{- end }}
{{- with $context }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* The image of a container. */}}
{{- define "guard.containerImage" -}}
image: {{ include "guard.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- end }}

{{/* The probes of a container that serves its health, and the limits that every container has. */}}
{{- define "guard.containerLimits" -}}
{{- range $name, $path := dict "readinessProbe" "/readyz" "livenessProbe" "/livez" }}
{{- with get $.values $name }}
{{- $handlers := pick . "httpGet" "exec" "tcpSocket" "grpc" | default (dict "httpGet" (dict "path" $path "port" "health")) }}
{{ $name }}: {{- toYaml (merge (dict) $handlers .) | nindent 2 }}
{{- end }}
{{- end }}
{{- with include "guard.securityContext" .root.Values.securityContext }}
securityContext: {{- . | nindent 2 }}
{{- end }}
resources: {{- toYaml .values.resources | nindent 2 }}
{{- end }}

{{/* Arguments that every program in the cluster has. */}}
{{- define "guard.args" -}}
- --log={{ .root.Values.log }}
{{- with .root.Values.traces.endpoint }}
- --otlp-endpoint={{ . }}
{{- end }}
{{- include "guard.extraArgs" .values.extraArgs }}
{{- end }}

{{- define "guard.extraArgs" -}}
{{- range . }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* The address to listen on for health and metrics, unless it is the default. */}}
{{- define "guard.healthListen" -}}
{{- if ne (int .values.healthPort) 8080 }}
- --health-listen=[::]:{{ .values.healthPort }}
{{- end }}
{{- end }}

{{/* The mount of the policy, and additional ones. */}}
{{- define "guard.volumeMounts" -}}
- name: policy
  mountPath: /policy
  readOnly: true
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The volume of the policy, and additional ones. */}}
{{- define "guard.volumes" -}}
- name: policy
  configMap:
    name: codex-k8s-policy
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The policy. Helm reads YAML 1.1, in which `off` is false; it means the mode. If the reconciler and the garbage
     collector do not have the identities of the default policy, the chart sets theirs. */}}
{{- define "guard.policy" -}}
{{- $ours := dict }}
{{- $reconciler := include "guard.account" (dict "component" "codex-k8s-reconcile" "values" .Values.reconcile) }}
{{- $collector := include "guard.account" (dict "component" "codex-k8s-gc" "values" .Values.gc) }}
{{- if ne (list .Release.Namespace $reconciler $collector | join " ") "codex-k8s-guard codex-k8s-reconcile codex-k8s-gc" }}
{{- $account := printf "system:serviceaccount:%s:" .Release.Namespace }}
{{- $ours = dict "identities" (dict
      "reconcilers" (dict "users" (list (print $account $reconciler)))
      "garbageCollectors" (dict "users" (list (print $account $collector)))) }}
{{- end }}
{{- $policy := mergeOverwrite $ours (deepCopy .Values.policy) }}
{{- range $rule, $mode := $policy.rules }}
{{- $_ := set $policy.rules $rule ($mode | default "off") }}
{{- end }}
apiVersion: policy.codex-k8s.dev/v1alpha1
kind: RunPolicy
{{- if $policy }}
{{ toYaml $policy }}
{{- end }}
{{- end }}

{{/* cronjob, daemon or off, which Helm may have read as false. */}}
{{- define "guard.gcMode" -}}
{{ .Values.gc.mode | default "off" }}
{{- end }}

{{/* The daemon's arguments for its page, as a YAML list. Takes the root. */}}
{{- define "guard.pageArgs" -}}
{{- with .Values.gc.page }}
{{- if .enabled }}
{{- if .hosts }}
- --admin-listen=[::]:8081
- --admin-allow-remote
{{- range .hosts }}
- --admin-host={{ . }}
{{- end }}
{{- else }}
- --admin-listen=127.0.0.1:8081
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The database of audit rows, for the programs that write to it. Takes the root. */}}
{{- define "guard.databaseEnv" -}}
{{- with .Values.gc.auditStore.secret }}
- name: CODEX_K8S_GUARD_AUDIT_STORE
  valueFrom: {secretKeyRef: {name: {{ . }}, key: address}}
- name: PGPASSWORD
  valueFrom: {secretKeyRef: {name: {{ . }}, key: PGPASSWORD, optional: true}}
{{- end }}
{{- end }}
