{{/* How the chart's pods are placed, wired and kept from harm: a matter each, for every component alike. */}}

{{/* The values' name of a component: "token-service" is tokenService. */}}
{{- define "voice-agent.valuesKey" -}}
{{- replace "-" " " . | title | nospace | untitle -}}
{{- end -}}

{{/*
What `pods` and the component itself say of its pods, as YAML: lists are added up, maps merged, and the component's own
word wins. (list $ "operator")
*/}}
{{- define "voice-agent.podSettings" -}}
{{- $all := (index . 0).Values.pods -}}
{{- $own := index (index . 0).Values (include "voice-agent.valuesKey" (index . 1)) -}}
{{- $settings := dict "priorityClassName" (get $own "priorityClassName" | default $all.priorityClassName) -}}
{{- $given := dict -}}
{{- if has (index . 1) (list "migrations" "test") -}}
  {{- /* What shall end does not with a mesh's sidecar, unless that is a native one. */ -}}
  {{- $given = dict "podLabels" (dict "sidecar.istio.io/inject" "false") "podAnnotations" (dict "linkerd.io/inject" "disabled") -}}
{{- end -}}
{{- range $name := list "nodeSelector" "affinity" "podAnnotations" "podLabels" -}}
  {{- $_ := set $settings $name (mergeOverwrite (get $given $name | default dict) (deepCopy (get $all $name)) (get $own $name | default dict)) -}}
{{- end -}}
{{- range $name := list "tolerations" "topologySpreadConstraints" "extraEnv" "extraEnvFrom" "extraVolumes" "extraVolumeMounts" -}}
  {{- /* What is empty, `concat` makes null. */ -}}
  {{- $_ := set $settings $name (concat (get $all $name) (get $own $name | default list) | default list) -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* One list of them, as YAML; nothing where it is empty: (list $ "operator" "extraEnv"). */}}
{{- define "voice-agent.extra" -}}
{{- with get (include "voice-agent.podSettings" . | fromYaml) (index . 2) }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* The metadata of a component's pods: (list $ "operator"), or with annotations of the chart's (list $ "operator" ANNOTATIONS). */}}
{{- define "voice-agent.podMetadata" -}}
{{- $settings := include "voice-agent.podSettings" . | fromYaml -}}
{{- /* By ours they are found. */ -}}
labels: {{ mergeOverwrite $settings.podLabels (include "voice-agent.selector" . | fromYaml) | toYaml | nindent 2 }}
{{- $scrape := include "voice-agent.scrapeAnnotations" . | fromYaml }}
{{- with merge (slice . 2 | first | default dict) $settings.podAnnotations $scrape }}
annotations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What the specs of a component's pods have in common, but containers and volumes: (list $ "operator"). */}}
{{- define "voice-agent.podSpec" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $settings := include "voice-agent.podSettings" . | fromYaml -}}
enableServiceLinks: false
{{- with include "voice-agent.serviceAccountName" . }}
serviceAccountName: {{ . | quote }}
{{- end }}
automountServiceAccountToken: {{ has $component (list "operator" "token-service") }}
securityContext:
  runAsNonRoot: true
  {{- with $root.Values.userId }}
  runAsUser: {{ int64 . }}
  runAsGroup: {{ int64 . }}
  fsGroup: {{ int64 . }}
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- with include "voice-agent.pullSecrets" $root }}
imagePullSecrets: {{ . | nindent 2 }}
{{- end }}
{{- with $settings.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with include "voice-agent.nodeSelector" . }}
nodeSelector: {{ . | nindent 2 }}
{{- end }}
{{- with $settings.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with include "voice-agent.tolerations" . }}
tolerations: {{ . | nindent 2 }}
{{- end }}
{{- with include "voice-agent.spread" . }}
topologySpreadConstraints: {{ . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Labels that a component's node has to have; LiveKit's is one node where no value says another. */}}
{{- define "voice-agent.nodeSelector" -}}
{{- $selector := (include "voice-agent.podSettings" . | fromYaml).nodeSelector -}}
{{- if eq (index . 1) "livekit" -}}
  {{- with include "voice-agent.livekitNode" (index . 0) -}}
    {{- $_ := set $selector "kubernetes.io/hostname" (splitList " " . | first) -}}
  {{- end -}}
{{- end -}}
{{- with $selector }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/*
Taints that a component bears. A lost node's pods are made elsewhere after seconds, as agent pods are; one with data
waits for its node as long as Kubernetes has pods wait, five minutes.
*/}}
{{- define "voice-agent.tolerations" -}}
{{- $seconds := (index . 0).Values.lostNodeSeconds -}}
{{- $tolerations := list -}}
{{- range ne (index . 1) "postgres" | ternary (list "not-ready" "unreachable") list -}}
  {{- $tolerations = append $tolerations (dict "key" (printf "node.kubernetes.io/%s" .) "operator" "Exists" "effect" "NoExecute" "tolerationSeconds" $seconds) -}}
{{- end -}}
{{- with concat $tolerations (include "voice-agent.podSettings" . | fromYaml).tolerations }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* How a component's replicas spread; by themselves over nodes, where there are several. */}}
{{- define "voice-agent.spread" -}}
{{- $own := dict "matchLabels" (include "voice-agent.selector" . | fromYaml) -}}
{{- $constraints := list -}}
{{- range (include "voice-agent.podSettings" . | fromYaml).topologySpreadConstraints -}}
  {{- $constraints = append $constraints (hasKey . "labelSelector" | ternary . (merge (dict "labelSelector" (deepCopy $own)) .)) -}}
{{- end -}}
{{- if and (not $constraints) (has (index . 1) (list "operator" "token-service" "pgbouncer" "local-models")) -}}
  {{- $constraints = list (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" "labelSelector" $own "matchLabelKeys" (list "pod-template-hash")) -}}
{{- end -}}
{{- with $constraints }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* What containers have in common, but command, variables, ports, probes and mounts: (list $ "operator"), or one of several (list $ "pgbouncer" NAME). */}}
{{- define "voice-agent.container" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $image := get (dict "token-service" "operator" "migrations" "operator" "test" "agent") $component | default $component -}}
name: {{ slice . 2 | first | default $component }}
image: {{ include "voice-agent.image" (list $root (include "voice-agent.valuesKey" $image)) | quote }}
imagePullPolicy: {{ $root.Values.imagePullPolicy }}
{{- with include "voice-agent.extra" (list $root $component "extraEnvFrom") }}
envFrom: {{ . | nindent 2 }}
{{- end }}
resources: {{ (index $root.Values (include "voice-agent.valuesKey" $component)).resources | toYaml | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* The ServiceAccount that a component's pods are; nothing: the namespace's `default`, without a token. (list $ "operator") */}}
{{- define "voice-agent.serviceAccountName" -}}
{{- $account := (get (index . 0).Values (include "voice-agent.valuesKey" (index . 1))).serviceAccount | default dict -}}
{{- if or $account.name $account.create }}{{ $account.name | default (include "voice-agent.name" .) }}{{ end -}}
{{- end -}}

{{/* The port at which each component serves metrics, as {name, port} by component. */}}
{{- define "voice-agent.metricsPorts" -}}
operator: {name: http, port: 8080}
token-service: {name: metrics, port: 3001}
{{- if .Values.pgbouncer.metrics.enabled }}
pgbouncer: {name: metrics, port: 9127}
{{- end }}
{{- if .Values.localModels.enabled }}
local-models: {name: http, port: 8000}
{{- end }}
{{- if and .Values.livekit.enabled .Values.livekit.ports.metrics }}
livekit: {name: metrics, port: {{ .Values.livekit.ports.metrics }}}
{{- end }}
{{- end -}}

{{/* By what a Prometheus without monitors finds a component's pods: (list $ "operator"). Nothing where it is not wanted. */}}
{{- define "voice-agent.scrapeAnnotations" -}}
{{- if (index . 0).Values.metrics.scrapeAnnotations -}}
{{- with get (include "voice-agent.metricsPorts" (index . 0) | fromYaml) (index . 1) -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
prometheus.io/path: /metrics
{{- end -}}
{{- end -}}
{{- end -}}
