{{/* Which Secrets there are, which of them the chart makes, and of what. */}}

{{/* The name of a Secret: the one that the values name, else the chart's own. (list $ "database-roles") */}}
{{- define "voice-agent.secretName" -}}
{{- $values := (index . 0).Values -}}
{{- if and (eq (index . 1) "livekit") (not $values.livekit.enabled) -}}
{{ $values.livekit.external.secret }}
{{- else if and (eq (index . 1) "database-owner") (not $values.postgres.enabled) -}}
{{ $values.postgres.external.passwordSecret }}
{{- else -}}
{{ (index $values.secrets (include "voice-agent.valuesKey" (index . 1))).existingSecret | default (include "voice-agent.name" .) }}
{{- end -}}
{{- end -}}

{{/* Whether (by any text) the chart makes this Secret: (list $ "database-roles"). */}}
{{- define "voice-agent.makesSecret" -}}
{{- $values := (index . 0).Values -}}
{{- $unused := dict "database-owner" (not $values.postgres.enabled) "livekit" (not $values.livekit.enabled) -}}
{{- $named := (index $values.secrets (include "voice-agent.valuesKey" (index . 1))).existingSecret -}}
{{- if and $values.secrets.create (not $named) (not (get $unused (index . 1))) }}yes{{ end -}}
{{- end -}}

{{/* The roles in the database that services and agents have, as a list in YAML: the last part of their names. */}}
{{- define "voice-agent.databaseRoles" -}}
[agent, reader, closer{{ if .Values.tokenService.callsPage.enabled }}, viewer{{ end }}]
{{- end -}}

{{/* Whether (by any text) helm can ask a cluster; `helm template` and Argo CD cannot. A list has a kind, even an empty one. */}}
{{- define "voice-agent.asksCluster" -}}
{{- if lookup "apps/v1" "Deployment" .Release.Namespace "" }}yes{{ end -}}
{{- end -}}

{{/*
Fills .Values.secrets.made with the data of the Secrets that the chart makes, by part of their name, base64: what the
cluster has, so that it stays over upgrades, and anew what is missing. None where no cluster can be asked, since each
rendering would make others. Kept in the values, because all templates of a rendering have to see the same.
*/}}
{{- define "voice-agent.makeSecrets" -}}
{{- if not (hasKey .Values.secrets "made") -}}
{{- $made := dict -}}
{{- if include "voice-agent.asksCluster" . -}}
  {{- $passwords := dict -}}
  {{- $services := include "voice-agent.databaseRoles" . | fromYamlArray -}}
  {{- range $services }}{{ $_ := set $passwords (printf "%s-password" .) (randAlphaNum 32) }}{{ end -}}
  {{- $new := dict
    "keys" (dict "signing-key" (genPrivateKey "ed25519") "conversation-key" (randAlphaNum 64) "installation-key" (randAlphaNum 64))
    "database-roles" (merge (dict "stats-password" (randAlphaNum 32)) $passwords)
    "database-owner" (dict "password" (randAlphaNum 32))
    "livekit" (dict "api-key" (printf "API%s" (randAlphaNum 13)) "api-secret" (randAlphaNum 48))
  -}}
  {{- range $name, $values := $new -}}
    {{- if include "voice-agent.makesSecret" (list $ $name) -}}
      {{- $old := (lookup "v1" "Secret" $.Release.Namespace (include "voice-agent.name" (list $ $name)) | default dict).data | default dict -}}
      {{- $data := dict -}}
      {{- range $key, $value := $values }}{{ $_ := set $data $key (get $old $key | default (b64enc $value)) }}{{ end -}}
      {{- $_ := set $made $name $data -}}
    {{- end -}}
  {{- end -}}
  {{- with get $made "database-roles" -}}
    {{- $roles := . -}}
    {{- $pgbouncer := include "voice-agent.name" (list $ "pgbouncer") -}}
    {{- $users := "" -}}
    {{- range $role := $services -}}
      {{- $password := get $roles (printf "%s-password" $role) | b64dec -}}
      {{- $users = printf "%s\"voice_%s\" \"%s\"\n" $users $role $password -}}
      {{- $port := eq $role "agent" | ternary 6432 6433 -}}
      {{- $url := printf "postgresql://voice_%s:%s@%s:%d/%s" $role $password $pgbouncer $port $.Values.database.name | b64enc -}}
      {{- if eq $role "agent" }}{{ $_ := set $made "agent-database" (dict "url" $url) }}{{ else }}{{ $_ := set $roles (printf "%s-url" $role) $url }}{{ end -}}
    {{- end -}}
    {{- $users = printf "%s\"voice_stats\" \"%s\"\n" $users (get $roles "stats-password" | b64dec) -}}
    {{- $_ := set $roles "userlist.txt" (b64enc $users) -}}
  {{- end -}}
  {{- with get $made "livekit" -}}
    {{- $_ := set . "keys" (printf "%s: %s" (get . "api-key" | b64dec) (get . "api-secret" | b64dec) | b64enc) -}}
  {{- end -}}
{{- end -}}
{{- $_ := set .Values.secrets "made" $made -}}
{{- end -}}
{{- end -}}

{{/*
An annotation by which pods are made anew when what they read of Secrets is another, as a map in YAML; nothing where
that is not known, since no cluster can be asked. KEYS: Secrets by part of their name, and of each the keys that are
read. (list $ KEYS)
*/}}
{{- define "voice-agent.secretsRead" -}}
{{- $root := index . 0 -}}
{{- include "voice-agent.makeSecrets" $root -}}
{{- $read := dict -}}
{{- range $name, $keys := index . 1 -}}
  {{- $data := get $root.Values.secrets.made $name -}}
  {{- if not $data }}{{ $data = (lookup "v1" "Secret" $root.Release.Namespace (include "voice-agent.secretName" (list $root $name)) | default dict).data }}{{ end -}}
  {{- range $key := $keys }}{{ with get ($data | default dict) $key }}{{ $_ := set $read (printf "%s/%s" $name $key) . }}{{ end }}{{ end -}}
{{- end -}}
{{- with $read }}{{ dict "voiceagents.dev/secrets" (toJson . | sha256sum | trunc 16) | toYaml }}{{ end -}}
{{- end -}}
