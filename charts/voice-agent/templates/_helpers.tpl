{{/* Names and pieces that several templates share. */}}

{{/* What the names of all objects begin with. */}}
{{- define "voice-agent.fullname" -}}
{{- .Values.fullnameOverride | default (printf "%s-%s" .Release.Name (.Values.nameOverride | default "voice-agent")) -}}
{{- end -}}

{{/* The name of a component's objects: (list $ "operator"). */}}
{{- define "voice-agent.name" -}}
{{- printf "%s-%s" (include "voice-agent.fullname" (index . 0)) (index . 1) -}}
{{- end -}}

{{/* The labels by which a component's pods are found: (list $ "operator"). They never change. */}}
{{- define "voice-agent.selector" -}}
app.kubernetes.io/name: voice-agent
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels of a component's objects: (list $ "operator"). */}}
{{- define "voice-agent.labels" -}}
{{ include "voice-agent.selector" . }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | replace "+" "_" | quote }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* What a Service that may be reached from outside the cluster says of that, by the component's `service`: (list $ "token-service"). */}}
{{- define "voice-agent.reach" -}}
{{- $service := (index (index . 0).Values (include "voice-agent.valuesKey" (index . 1))).service -}}
type: {{ $service.type }}
{{- range $field := list "loadBalancerClass" "loadBalancerSourceRanges" "externalTrafficPolicy" }}
{{- with get $service $field }}
{{ $field }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Which families of addresses a Service has, where values say so. */}}
{{- define "voice-agent.ipFamilies" -}}
{{- range $field := list "ipFamilyPolicy" "ipFamilies" }}
{{- with get $.Values.services $field }}
{{ $field }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Fails where another release has an operator in this namespace: each would take the other's pods for outdated. */}}
{{- define "voice-agent.refuseSecondRelease" -}}
{{- range (lookup "apps/v1" "Deployment" .Release.Namespace "").items -}}
  {{- $labels := .metadata.labels | default dict -}}
  {{- $ours := and (eq (get $labels "app.kubernetes.io/name") "voice-agent") (eq (get $labels "app.kubernetes.io/component") "operator") -}}
  {{- $release := get $labels "app.kubernetes.io/instance" -}}
  {{- if and $ours (ne $release $.Release.Name) -}}
    {{- fail (printf "release %s is in namespace %s already, and a namespace has one release: install this one in a namespace of its own, or uninstall that one first (helm uninstall %s -n %s)" $release $.Release.Namespace $release $.Release.Namespace) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/*
What is wrong with the volume of Postgres where the release has one running already; nothing when it stays as it is.
Kubernetes refuses the change in words that name no value.
*/}}
{{- define "voice-agent.refusedVolume" -}}
{{- $name := include "voice-agent.name" (list . "postgres") -}}
{{- $wanted := .Values.postgres.storage.size -}}
{{- $running := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- if and $running .Values.postgres.enabled -}}
{{- $size := "" -}}
{{- range $running.spec.volumeClaimTemplates }}{{ $size = .spec.resources.requests.storage }}{{ end -}}
{{- if ne (include "voice-agent.amount" ($size | default 0)) (include "voice-agent.amount" ($wanted | default 0)) -}}
postgres.storage.size: Postgres runs with {{ $size | default "no volume" }}, and Kubernetes changes nothing of a StatefulSet's volumes:
{{- if and $size $wanted }} enlarge the claim itself (kubectl -n {{ .Release.Namespace }} edit pvc data-{{ $name }}-0), then take the StatefulSet away without its pod (kubectl -n {{ .Release.Namespace }} delete statefulset {{ $name }} --cascade=orphan), and upgrade again
{{- else }} save what you need of the conversations (pg_dump), then delete it (kubectl -n {{ .Release.Namespace }} delete statefulset {{ $name }}), and upgrade again
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What is wrong with database.name where the chart's Postgres has made its database already. */}}
{{- define "voice-agent.refusedDatabase" -}}
{{- $name := include "voice-agent.name" (list . "postgres") -}}
{{- $running := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- if and $running .Values.postgres.enabled -}}
{{- range (first $running.spec.template.spec.containers).env }}
{{- if and (eq .name "POSTGRES_DB") (ne .value $.Values.database.name) -}}
database.name: Postgres has the database {{ .value }}, and makes none beside it: leave database.name={{ .value }}, or rename it by hand (ALTER DATABASE) and take the StatefulSet away without its pod (kubectl -n {{ $.Release.Namespace }} delete statefulset {{ $name }} --cascade=orphan) before you upgrade
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* An amount, for example 100m or 1Gi, as a number to compare. */}}
{{- define "voice-agent.amount" -}}
{{- $text := kindIs "string" . | ternary (toString .) (printf "%f" (float64 .)) -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- $units := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- mulf (float64 $number) (get $units (trimPrefix $number $text) | default 1.0) | printf "%f" -}}
{{- end -}}

{{- define "voice-agent.livekitUrl" -}}
{{- if .Values.livekit.enabled -}}
ws://{{ include "voice-agent.name" (list . "livekit") }}:{{ .Values.livekit.ports.http }}
{{- else -}}
{{ .Values.livekit.external.url }}
{{- end -}}
{{- end -}}

{{/* The port of an address, said or not. */}}
{{- define "voice-agent.urlPort" -}}
{{- $url := urlParse . -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (has $url.scheme (list "wss" "https") | ternary "443" "80") -}}
{{- end -}}

{{- define "voice-agent.livekitPort" -}}
{{- include "voice-agent.urlPort" (include "voice-agent.livekitUrl" .) -}}
{{- end -}}

{{/*
The node that LiveKit is bound to where no value says where it is, as "hostname address"; nothing where no cluster can
be asked. The one that it is on stays the one, whatever other nodes there are and however full it is: to move LiveKit
ends every call. Else the first one that takes pods.
*/}}
{{- define "voice-agent.livekitNode" -}}
{{- if and .Values.livekit.enabled (not .Values.livekit.publicUrl) (not .Values.livekit.nodeSelector) -}}
{{- $release := lookup "apps/v1" "Deployment" .Release.Namespace (include "voice-agent.name" (list . "livekit")) | default dict -}}
{{- $kept := dig "spec" "template" "spec" "nodeSelector" "kubernetes.io/hostname" "" $release -}}
{{- $settings := include "voice-agent.podSettings" (list . "livekit") | fromYaml -}}
{{- $nodes := dict -}}
{{- $free := list -}}
{{- range (lookup "v1" "Node" "" "").items -}}
  {{- $labels := .metadata.labels | default dict -}}
  {{- $hostname := get $labels "kubernetes.io/hostname" | default .metadata.name -}}
  {{- $blocked := or .spec.unschedulable (eq (get $labels "kubernetes.io/os") "windows") -}}
  {{- range $label, $value := $settings.nodeSelector }}{{ if ne (get $labels $label) $value }}{{ $blocked = true }}{{ end }}{{ end -}}
  {{- range .spec.taints }}{{ if include "voice-agent.repels" (list . $settings.tolerations) }}{{ $blocked = true }}{{ end }}{{ end -}}
  {{- $address := "" -}}
  {{- range .status.addresses }}{{ if eq .type "InternalIP" }}{{ $address = default .address $address }}{{ end }}{{ end -}}
  {{- $_ := set $nodes $hostname $address -}}
  {{- if not $blocked }}{{ $free = append $free $hostname }}{{ end -}}
{{- end -}}
{{- if and $nodes (not $free) (not (hasKey $nodes $kept)) -}}
  {{- fail "livekit.nodeSelector and livekit.publicUrl: no node takes LiveKit, since each is cordoned, tainted or without the labels of pods.nodeSelector: say which one it is to run on, and at which address browsers reach it; or set livekit.tolerations" -}}
{{- end -}}
{{- if $nodes -}}
  {{- $chosen := hasKey $nodes $kept | ternary $kept (sortAlpha $free | first) -}}
  {{- $chosen }} {{ get $nodes $chosen }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether (by any text) a node's taint keeps pods with these tolerations away: (list TAINT TOLERATIONS). */}}
{{- define "voice-agent.repels" -}}
{{- $taint := index . 0 -}}
{{- $repels := ne $taint.effect "PreferNoSchedule" -}}
{{- range index . 1 -}}
  {{- $meant := and (or (not .key) (eq .key $taint.key)) (or (not .effect) (eq .effect $taint.effect)) -}}
  {{- if and $meant (or (eq (.operator | default "Equal") "Exists") (eq (.value | default "") ($taint.value | default ""))) }}{{ $repels = false }}{{ end -}}
{{- end -}}
{{- if $repels }}yes{{ end -}}
{{- end -}}

{{- define "voice-agent.livekitPublicUrl" -}}
{{- if .Values.livekit.publicUrl -}}
{{ .Values.livekit.publicUrl }}
{{- else -}}
{{- $node := include "voice-agent.livekitNode" . -}}
{{- if $node -}}
{{- $address := splitList " " $node | last -}}
ws://{{ contains ":" $address | ternary (printf "[%s]" $address) $address }}:{{ .Values.livekit.ports.http }}
{{- else -}}
{{ include "voice-agent.livekitUrl" . }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What token service and operator have in common: LiveKit, the installation's key, limits, NAMESPACE, LOG_LEVEL. */}}
{{- define "voice-agent.commonEnv" -}}
- {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: LOG_LEVEL, value: {{ .Values.logLevel | quote }}}
{{- with .Values.tracing.endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
- {name: LIVEKIT_URL, value: {{ include "voice-agent.livekitUrl" . | quote }}}
- name: LIVEKIT_API_KEY
  valueFrom: {secretKeyRef: {name: {{ include "voice-agent.secretName" (list . "livekit") | quote }}, key: api-key}}
- name: LIVEKIT_API_SECRET
  valueFrom: {secretKeyRef: {name: {{ include "voice-agent.secretName" (list . "livekit") | quote }}, key: api-secret}}
- {name: INSTALLATION_KEY_FILE, value: /etc/voice-agent/keys/installation-key}
- {name: MAX_TICKET_AGE_SECONDS, value: {{ .Values.admission.maxTicketAgeSeconds | quote }}}
- {name: MAX_STARTS_PER_CALL, value: {{ .Values.admission.maxStartsPerCall | quote }}}
{{- if kindIs "invalid" .Values.admission.tenantMaxSessions | not }}
- {name: TENANT_MAX_SESSIONS, value: {{ .Values.admission.tenantMaxSessions | quote }}}
{{- end }}
{{- end -}}

{{/* DATABASE_URL of a service: (list $ "reader-url"). */}}
{{- define "voice-agent.databaseEnv" -}}
- name: DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ include "voice-agent.secretName" (list (index . 0) "database-roles") | quote }}, key: {{ index . 1 }}}}
{{- end -}}

{{/* Where Postgres itself is. */}}
{{- define "voice-agent.postgresHost" -}}
{{- if .Values.postgres.enabled -}}
{{ include "voice-agent.name" (list . "postgres") }}
{{- else -}}
{{ .Values.postgres.external.host }}
{{- end -}}
{{- end -}}

{{- define "voice-agent.postgresPort" -}}
{{- .Values.postgres.enabled | ternary 5432 .Values.postgres.external.port -}}
{{- end -}}

{{- define "voice-agent.postgresSslmode" -}}
{{- .Values.postgres.enabled | ternary "disable" .Values.postgres.external.sslmode -}}
{{- end -}}

{{/* The Secret with the authority that the server's certificate is checked by; empty where none is. */}}
{{- define "voice-agent.postgresCaSecret" -}}
{{- .Values.postgres.enabled | ternary "" .Values.postgres.external.caSecret -}}
{{- end -}}

{{- define "voice-agent.postgresOwner" -}}
{{- .Values.postgres.enabled | ternary "voice_owner" .Values.postgres.external.user -}}
{{- end -}}

{{/* The database as its owner, without the password: a host that is an IPv6 address has brackets in a URL. */}}
{{- define "voice-agent.ownerUrl" -}}
{{- $host := include "voice-agent.postgresHost" . -}}
{{- $address := contains ":" $host | ternary (printf "[%s]" $host) $host -}}
postgresql://{{ include "voice-agent.postgresOwner" . | urlquery }}@{{ $address }}:{{ include "voice-agent.postgresPort" . }}/{{ .Values.database.name }}?sslmode={{ include "voice-agent.postgresSslmode" . }}
{{- if include "voice-agent.postgresCaSecret" . }}&sslrootcert=/etc/voice-agent/postgres-ca/ca.crt{{ end -}}
{{- end -}}

{{/*
How many server connections each role may have in one replica of PgBouncer, and how many are kept open, as YAML. Roles
do not compete: what agents do takes none from the services, nor reading from closing.
*/}}
{{- define "voice-agent.connections" -}}
{{- $replicas := max 1 (int .Values.pgbouncer.replicas) -}}
{{- $most := div (int .Values.database.maxConnections) $replicas | int -}}
{{- $least := div (int .Values.database.minConnections) $replicas | int -}}
{{- $closer := ge $most 6 | ternary 2 1 -}}
{{- $reader := max 1 (div $most 5) -}}
{{- $viewer := .Values.tokenService.callsPage.enabled | ternary (max 1 (div $most 10)) 0 -}}
{{- $agent := sub $most (add $closer $reader $viewer) -}}
{{- $kept := ge $least 3 | ternary 1 0 -}}
agent: {most: {{ $agent }}, least: {{ min $agent (sub $least (mul (ternary 3 2 (gt $viewer 0)) $kept)) }}}
reader: {most: {{ $reader }}, least: {{ $kept }}}
closer: {most: {{ $closer }}, least: {{ $kept }}}
{{- if $viewer }}
viewer: {most: {{ $viewer }}, least: {{ $kept }}}
{{- end }}
{{- end -}}

{{/* What both of PgBouncer's processes are told: (list $ PORT). */}}
{{- define "voice-agent.pgbouncerCommon" -}}
{{- $root := index . 0 -}}
{{- $name := $root.Values.database.name -}}
[databases]
{{ $name }} = host={{ include "voice-agent.postgresHost" $root }} port={{ include "voice-agent.postgresPort" $root }} dbname={{ $name }}

[pgbouncer]
listen_addr = *
listen_port = {{ index . 1 }}
unix_socket_dir =
auth_file = /etc/pgbouncer/userlist.txt
client_login_timeout = 10
server_tls_sslmode = {{ include "voice-agent.postgresSslmode" $root }}
{{- if include "voice-agent.postgresCaSecret" $root }}
server_tls_ca_file = /etc/pgbouncer/ca.crt
{{- end }}
{{- if $root.Values.pgbouncer.metrics.enabled }}
stats_users = voice_stats
{{- end }}
; Each statement by itself, as all of ours are: nobody holds a connection by a transaction.
pool_mode = statement
; From when it is asked, the wait for a connection with it. The roles have a statement_timeout, which a client may
; change; this one it cannot.
query_timeout = 10
; A client that leaves a setting behind leaves it to nobody.
server_reset_query = DISCARD ALL
server_reset_query_always = 1
query_wait_timeout = 8
server_login_retry = 1
server_connect_timeout = 5
tcp_keepalive = 1
tcp_keepidle = 15
log_connections = 0
log_disconnections = 0
{{- end -}}

{{/* PgBouncer for agents. */}}
{{- define "voice-agent.pgbouncerIni" -}}
{{- $agent := (include "voice-agent.connections" . | fromYaml).agent -}}
{{ include "voice-agent.pgbouncerCommon" (list . 6432) }}
auth_type = scram-sha-256
min_pool_size = {{ $agent.least }}
default_pool_size = {{ $agent.most }}
max_db_connections = {{ $agent.most }}
max_client_conn = {{ .Values.database.maxClients }}
{{- end -}}

{{/* PgBouncer for operator and token service: a process of its own, which an agent cannot keep busy. */}}
{{- define "voice-agent.pgbouncerServicesIni" -}}
{{- $connections := omit (include "voice-agent.connections" . | fromYaml) "agent" -}}
{{- $all := 0 -}}
{{- range $connections }}{{ $all = add $all .most }}{{ end -}}
{{ include "voice-agent.pgbouncerCommon" (list . 6433) }}
; So that voice_agent is refused.
auth_type = hba
auth_hba_file = /etc/pgbouncer/services.hba
min_pool_size = {{ $connections.reader.least }}
default_pool_size = {{ $all }}
max_db_connections = {{ $all }}
max_client_conn = 5000

[users]
{{- range without (include "voice-agent.databaseRoles" . | fromYamlArray) "agent" }}
voice_{{ . }} = max_user_connections={{ (get $connections .).most }}
{{- end }}
{{- end -}}

{{- define "voice-agent.pgbouncerServicesHba" -}}
{{- $services := list }}
{{- range without (include "voice-agent.databaseRoles" . | fromYamlArray) "agent" }}{{ $services = printf "voice_%s" . | append $services }}{{ end -}}
host all {{ join "," $services }} 0.0.0.0/0 scram-sha-256
host all {{ join "," $services }} ::/0 scram-sha-256
{{- if .Values.pgbouncer.metrics.enabled }}
host pgbouncer voice_stats 127.0.0.1/32 scram-sha-256
{{- end }}
{{- end -}}

{{/*
A provider, as YAML, with what the API server would add to it by default: the items of a list are compared whole by
Argo CD, to which the pool would be changed for ever. The argument is the provider.
*/}}
{{- define "voice-agent.provider" -}}
{{- $provider := merge (deepCopy .) (dict "local" false) -}}
{{- $parts := list $provider -}}
{{- range $name := list "stt" "llm" "tts" "realtime" -}}
  {{- with get $provider $name -}}
    {{- $parts = concat $parts (list .) (.headers | default list) -}}
    {{- with .timeouts }}{{ $_ := set . "connectSeconds" (.connectSeconds | default 3) }}{{ end -}}
    {{- if has $name (list "tts" "realtime") }}{{ $_ := set . "voice" (.voice | default "alloy") }}{{ end -}}
  {{- end -}}
{{- end -}}
{{- range $parts }}{{ with .secretRef }}{{ $_ := set . "key" (.key | default "api-key") }}{{ end }}{{ end -}}
{{- toYaml $provider -}}
{{- end -}}

{{- define "voice-agent.localProvider" -}}
{{- $url := printf "http://%s:8000/v1" (include "voice-agent.name" (list . "local-models")) -}}
name: local
local: true
stt: {baseUrl: {{ $url | quote }}, model: whisper-tiny.en, timeouts: {readSeconds: 30}}
llm: {baseUrl: {{ $url | quote }}, model: rule-based-partner}
tts: {baseUrl: {{ $url | quote }}, model: hibari, timeouts: {readSeconds: 30}}
{{- end -}}

{{- define "voice-agent.openaiProvider" -}}
{{- $openai := .Values.openai -}}
name: openai
{{- range $part := list "stt" "llm" "tts" }}
{{ $part }}:
  {{- with $openai.baseUrl }}
  baseUrl: {{ . | quote }}
  {{- end }}
  {{- toYaml (index $openai $part) | nindent 2 }}
{{- end }}
secretRef: {name: {{ $openai.apiKeySecret | quote }}}
{{- end -}}
