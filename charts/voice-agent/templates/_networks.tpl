{{/* Who reaches whom: what the NetworkPolicies are made of. A rule that has nobody left to name is left out: it would open. */}}

{{/* A policy but for its spec: (list $ "operator"), and its name's end where a component has several. */}}
{{- define "voice-agent.policy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "voice-agent.name" (list (index . 0) (last .)) }}
  labels: {{ include "voice-agent.labels" . | nindent 4 }}
{{- end -}}

{{/* Peers: the pods of some components. (list $ "operator" "token-service") */}}
{{- define "voice-agent.podPeers" -}}
{{- $root := first . -}}
{{- range rest . }}
- podSelector:
    matchLabels: {{ include "voice-agent.selector" (list $root .) | nindent 6 }}
{{- end }}
{{- end -}}

{{/* A peer: the pods of all pools. */}}
{{- define "voice-agent.agentPeers" -}}
- podSelector:
    matchExpressions: [{key: voiceagents.dev/pool, operator: Exists}]
{{- end -}}

{{/* Peers: networks, as a list of CIDRs. */}}
{{- define "voice-agent.cidrPeers" -}}
{{- range . }}
- ipBlock: {cidr: {{ . | quote }}}
{{- end }}
{{- end -}}

{{/* Egress: a collector of spans in the cluster. The port is its pod's, too. */}}
{{- define "voice-agent.toTracing" -}}
{{- with .Values.tracing.endpoint }}
{{- $address := urlParse . }}
- to: [{namespaceSelector: {}}]
  ports: [{port: {{ regexFind ":[0-9]+$" $address.host | trimPrefix ":" | default (eq $address.scheme "https" | ternary 443 80) }}, protocol: TCP}]
{{- end }}
{{- end -}}

{{/* Egress: whoever answers look-ups of names. A port of 53 is that of the pod, not that of the Service before it. */}}
{{- define "voice-agent.toDns" -}}
{{- $ports := "[{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]" -}}
{{- range .Values.networkPolicies.dns }}
{{- if eq . "kube-dns" }}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: kube-system}
      podSelector:
        matchLabels: {k8s-app: kube-dns}
  ports: {{ $ports }}
{{- else if eq . "openshift" }}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: openshift-dns}
  ports: [{port: 5353, protocol: UDP}, {port: 5353, protocol: TCP}]
{{- else }}
- ports: {{ $ports }}
{{- end }}
{{- end }}
{{- with .Values.networkPolicies.dnsCidrs }}
- to: {{ include "voice-agent.cidrPeers" . | nindent 4 }}
  ports: {{ $ports }}
{{- end }}
{{- end -}}

{{/* Egress: PgBouncer, at the port of agents or of the services: (list $ 6432). */}}
{{- define "voice-agent.toPgbouncer" -}}
- to: {{ include "voice-agent.podPeers" (list (index . 0) "pgbouncer") | nindent 4 }}
  ports: [{port: {{ index . 1 }}, protocol: TCP}]
{{- end -}}

{{/* Egress: Postgres, wherever one of yours is. */}}
{{- define "voice-agent.toPostgres" -}}
- ports: [{port: {{ include "voice-agent.postgresPort" . }}, protocol: TCP}]
  {{- if .Values.postgres.enabled }}
  to: {{ include "voice-agent.podPeers" (list . "postgres") | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Egress: the API server, which is where no value says, behind another port than its Service's. */}}
{{- define "voice-agent.toApiServer" -}}
{{- with .Values.networkPolicies.apiServerPorts }}
- ports:
    {{- range . }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- end -}}

{{/*
Where LiveKit is, as a list in JSON. Without a value: near, if its address is ws://; else on the internet, since to open
private networks at port 443 would open most API servers too.
*/}}
{{- define "voice-agent.livekitCidrs" -}}
{{- $said := .Values.networkPolicies.livekitCidrs -}}
{{- if not (kindIs "invalid" $said) -}}
{{ toJson $said }}
{{- else if hasPrefix "ws://" (include "voice-agent.livekitUrl" .) -}}
["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/* Egress: LiveKit's server API. The pod behind a Service has a port of its own, which is 7880 by default. */}}
{{- define "voice-agent.toLivekitApi" -}}
- ports:
    - {port: {{ include "voice-agent.livekitPort" . }}, protocol: TCP}
    {{- if not .Values.livekit.enabled }}
    - {port: 7880, protocol: TCP}
    {{- end }}
{{- end -}}

{{/* Egress: the keys of whoever issues customers' tokens. */}}
{{- define "voice-agent.toIssuer" -}}
{{- $auth := .Values.tokenService.auth -}}
{{- range eq $auth.mode "oidc" | ternary (list $auth.oidc.issuer $auth.oidc.jwksUrl) list }}
{{- with . }}
- ports: [{port: {{ include "voice-agent.urlPort" . }}, protocol: TCP}]
{{- end }}
{{- end }}
{{- end -}}

{{/* The ports of LiveKit that agents need. */}}
{{- define "voice-agent.livekitPorts" -}}
{{- if .Values.livekit.enabled }}
- {port: {{ .Values.livekit.ports.http }}, protocol: TCP}
- {port: {{ .Values.livekit.ports.tcp }}, protocol: TCP}
- {port: {{ .Values.livekit.ports.udp }}, protocol: UDP}
{{- else }}
# What LiveKit servers listen on by default: signals behind any Service, TURN, media in one port or in many.
- {port: {{ include "voice-agent.livekitPort" . }}, protocol: TCP}
- {port: 7880, protocol: TCP}
- {port: 7881, protocol: TCP}
- {port: 443, protocol: UDP}
- {port: 3478, endPort: 65535, protocol: UDP}
{{- end }}
{{- end -}}

{{/* Egress: LiveKit, as agents reach it. The chart's own has the address of its node, which may be a public one. */}}
{{- define "voice-agent.toLivekit" -}}
{{- $cidrs := include "voice-agent.livekitCidrs" . | fromJsonArray -}}
{{- with include "voice-agent.livekitNode" . -}}
{{- $address := splitList " " . | last -}}
{{- $cidrs = append $cidrs (printf "%s/%s" $address (contains ":" $address | ternary "128" "32")) -}}
{{- end -}}
{{- with $cidrs }}
- to: {{ include "voice-agent.cidrPeers" . | nindent 4 }}
  ports: {{ include "voice-agent.livekitPorts" $ | nindent 4 }}
{{- end }}
{{- end -}}

{{/* Egress: the chart's local models. */}}
{{- define "voice-agent.toLocalModels" -}}
{{- if .Values.localModels.enabled }}
- to: {{ include "voice-agent.podPeers" (list . "local-models") | nindent 4 }}
  ports: [{port: 8000, protocol: TCP}]
{{- end }}
{{- end -}}

{{/* Egress: the networks that agents may go to; of all addresses, those that are closed are left out. */}}
{{- define "voice-agent.toAgentCidrs" -}}
{{- $closed := .Values.networkPolicies.closedCidrs -}}
{{- with .Values.networkPolicies.agentCidrs }}
- to:
    {{- range $cidr := . }}
    - ipBlock:
        cidr: {{ $cidr | quote }}
        {{- $except := list }}
        {{- range $closed }}{{ if eq (contains ":" .) (contains ":" $cidr) }}{{ $except = append $except . }}{{ end }}{{ end }}
        {{- if and $except (has $cidr (list "0.0.0.0/0" "::/0")) }}
        except: {{ toJson $except }}
        {{- end }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Egress: what the values add for the chart's own parts. */}}
{{- define "voice-agent.partsEgress" -}}
{{- with .Values.networkPolicies.partsEgress }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* Ingress: who reads a part's metrics, at its port. (list $ 8080) */}}
{{- define "voice-agent.fromMetrics" -}}
{{- with (index . 0).Values.networkPolicies.metricsFrom }}
- from: {{ toYaml . | nindent 4 }}
  ports: [{port: {{ index $ 1 }}, protocol: TCP}]
{{- end }}
{{- end -}}
