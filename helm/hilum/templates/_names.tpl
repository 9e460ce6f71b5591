{{/* Names and labels. Most take (dict "root" $ "component" NAME). */}}

{{- define "hilum.fullname" -}}
{{- $usual := ternary .Release.Name (printf "%s-hilum" .Release.Name) (contains "hilum" .Release.Name) -}}
{{- default $usual .Values.fullnameOverride | trunc 30 | trimSuffix "-" -}}
{{- end }}

{{/* What selects the pods of a component, also those that KubeRay makes: it gives them a name label of its own. */}}
{{- define "hilum.selector" -}}
app.kubernetes.io/part-of: hilum
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "hilum.labels" -}}
{{ include "hilum.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "hilum.metadata" -}}
name: {{ include "hilum.fullname" .root }}-{{ default .component .name }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "hilum.labels" . | nindent 2 }}
{{- end }}

{{/* (dict "root" $ "gpu" BOOL) */}}
{{- define "hilum.image" -}}
{{- $image := .root.Values.image -}}
{{- $repository := ternary (default $image.repository $image.gpuRepository) $image.repository (default false .gpu) -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ default .root.Chart.AppVersion $image.tag }}
{{- end -}}
{{- end }}

{{- define "hilum.labelStudioUrl" -}}
{{- if .Values.labelStudio.enabled -}}
http://{{ include "hilum.fullname" . }}-label-studio:8080
{{- else -}}
{{ .Values.labelStudio.externalUrl }}
{{- end -}}
{{- end }}

{{/* A podSelector of several components: (dict "root" $ "of" LIST) */}}
{{- define "hilum.pods" -}}
matchLabels:
  app.kubernetes.io/part-of: hilum
  app.kubernetes.io/instance: {{ .root.Release.Name }}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: {{ toJson .of }}}
{{- end }}

{{- define "hilum.ports" -}}
{{- range . }}
- {protocol: TCP, port: {{ int . }}}
{{- end }}
{{- end }}
