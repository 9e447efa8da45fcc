{{/* The labels of the chart's objects. */}}
{{- define "voice-agent-crds.labels" -}}
app.kubernetes.io/name: voice-agent
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}
