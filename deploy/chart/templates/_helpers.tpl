{{/* The labels that select a component's Pods. Takes the root and the component. */}}
{{- define "guard.selector" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* The labels of every object. Takes the root and the component. */}}
{{- define "guard.labels" -}}
{{ include "guard.selector" . }}
app.kubernetes.io/part-of: codex-k8s-guard
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "guard.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* The security context that a namespace of level `restricted` requires. */}}
{{- define "guard.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "guard.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The scheduling settings of a component. Takes its values. */}}
{{- define "guard.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Spreads the Pods of a component over nodes and zones if possible. Takes the root and the component. */}}
{{- define "guard.spread" -}}
topologySpreadConstraints:
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "guard.selector" $ | nindent 6 }}
{{- end }}
{{- end }}

{{/* The policy. In a namespace other than the default, our own identities are ServiceAccounts of that namespace. */}}
{{- define "guard.policy" -}}
{{- $ours := dict }}
{{- if ne .Release.Namespace "codex-k8s-guard" }}
{{- $account := printf "system:serviceaccount:%s:" .Release.Namespace }}
{{- $ours = dict "identities" (dict
      "reconcilers" (dict "users" (list (printf "%scodex-k8s-reconcile" $account)))
      "garbageCollectors" (dict "users" (list (printf "%scodex-k8s-gc" $account)))) }}
{{- end }}
{{- $policy := mergeOverwrite $ours (deepCopy .Values.policy) }}
apiVersion: policy.codex-k8s.dev/v1alpha1
kind: RunPolicy
{{- if $policy }}
{{ toYaml $policy }}
{{- end }}
{{- end }}

{{/* The daemon's arguments for its page, as a YAML list. Takes the root. */}}
{{- define "guard.pageArgs" -}}
{{- with .Values.gc.page }}
{{- if .enabled }}
{{- if .hosts }}
- --admin-listen=0.0.0.0:8081
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
