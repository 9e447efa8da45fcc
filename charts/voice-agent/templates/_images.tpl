{{/* Which images are run, and by which Secrets they are pulled. */}}

{{/* An image's reference: (list $ "operator"). */}}
{{- define "voice-agent.image" -}}
{{- $root := index . 0 -}}
{{- $images := $root.Values.images -}}
{{- $image := index $images (index . 1) -}}
{{- with $root.Values.global.imageRegistry | default $image.registry | default $images.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $tagged := printf "%s:%s" $image.repository ($image.tag | default $images.tag) -}}
{{- with $image.digest | default (get $images.digests $tagged) }}{{ $image.repository }}@{{ . }}{{ else }}{{ $tagged }}{{ end -}}
{{- end -}}

{{/* The Secrets by which nodes pull images, as a YAML list; nothing where there are none. */}}
{{- define "voice-agent.pullSecrets" -}}
{{- with concat .Values.imagePullSecrets (.Values.global.imagePullSecrets | default list) -}}
{{ toYaml (uniq .) }}
{{- end -}}
{{- end -}}
