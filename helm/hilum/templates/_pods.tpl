{{/* What pods of hilum have in common. */}}

{{- define "hilum.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.pod.runAsUser }}
runAsGroup: {{ .Values.pod.runAsUser }}
fsGroup: {{ .Values.pod.runAsUser }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "hilum.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* (dict "root" $ "account" SUFFIX "token" BOOL) Service links would set LABEL_STUDIO_PORT and others that are settings. */}}
{{- define "hilum.podCommon" -}}
serviceAccountName: {{ include "hilum.fullname" .root }}{{ with .account }}-{{ . }}{{ end }}
automountServiceAccountToken: {{ default false .token }}
enableServiceLinks: false
securityContext: {{- include "hilum.podSecurity" .root | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Replicas on different nodes where that is possible. */}}
{{- define "hilum.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "hilum.selector" . | nindent 8 }}
{{- end }}

{{/* Where things are, and secrets, as settings.py reads them. */}}
{{- define "hilum.env" -}}
- {name: HILUM_STORE, value: {{ .Values.store.url | quote }}}
- {name: HILUM_STATE, value: /tmp/hilum}
{{- /* In the audit log; a job that somebody submitted names them. */}}
- {name: HILUM_ACTOR, value: {{ .Release.Namespace }}/{{ include "hilum.fullname" . }}}
- {name: HOME, value: /tmp}
- {name: XDG_CACHE_HOME, value: /tmp/.cache}
- {name: MPLCONFIGDIR, value: /tmp/.matplotlib}
- {name: NUMBA_CACHE_DIR, value: /tmp/.numba}
- {name: PYTHONUNBUFFERED, value: "1"}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
{{- with .Values.store.endpointUrl }}
- {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- with .Values.store.region }}
- {name: AWS_REGION, value: {{ . | quote }}}
- {name: AWS_DEFAULT_REGION, value: {{ . | quote }}}
{{- end }}
{{- with .Values.store.existingSecret }}
{{- $secret := . }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ . }}}}
{{- end }}
- name: AWS_SESSION_TOKEN
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: AWS_SESSION_TOKEN, optional: true}}
{{- end }}
{{- if .Values.postgres.enabled }}
- {name: HILUM_LEDGER_URL, value: "postgresql+psycopg://hilum@{{ include "hilum.fullname" . }}-postgres:5432/hilum"}
- name: PGPASSWORD
  valueFrom: {secretKeyRef: {name: {{ .Values.postgres.existingSecret }}, key: password}}
{{- else if .Values.ledger.existingSecret }}
- name: HILUM_LEDGER_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.ledger.existingSecret }}, key: url}}
{{- end }}
{{- with .Values.identity.existingSecret }}
- name: HILUM_IDENTITY_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: identity-key}}
{{- end }}
{{- with include "hilum.labelStudioUrl" . }}
- {name: HILUM_LABEL_STUDIO_URL, value: {{ . | quote }}}
- {name: HILUM_LABEL_STUDIO_TOKEN_FILE, value: /etc/hilum/label-studio/token}
{{- end }}
{{- if .Values.bridge.enabled }}
- {name: HILUM_BRIDGE_URL, value: {{ .Values.bridge.publicUrl | quote }}}
- {name: HILUM_BRIDGE_URL_INSIDE, value: "http://{{ include "hilum.fullname" . }}-bridge:9090"}
- {name: HILUM_BRIDGE_KEY_FILE, value: /etc/hilum/bridge/bridge-key}
{{- end }}
{{- range $name, $value := .Values.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* Who may ask `control` and the bridge for what they count: three parts of a pod. */}}
{{- define "hilum.metricsEnv" -}}
{{- if .Values.monitoring.apiKeysSecret }}
- {name: HILUM_API_KEYS_FILE, value: /etc/hilum/metrics-keys/keys.json}
{{- end }}
{{- end }}

{{- define "hilum.metricsMounts" -}}
{{- if .Values.monitoring.apiKeysSecret }}
- {name: metrics-keys, mountPath: /etc/hilum/metrics-keys, readOnly: true}
{{- end }}
{{- end }}

{{- define "hilum.metricsVolumes" -}}
{{- with .Values.monitoring.apiKeysSecret }}
- name: metrics-keys
  secret: {secretName: {{ . }}}
{{- end }}
{{- end }}

{{- define "hilum.mounts" -}}
- {name: scratch, mountPath: /tmp}
{{- if .Values.store.existingClaim }}
- {name: store, mountPath: /store}
{{- end }}
{{- if .Values.recipes }}
- {name: recipes, mountPath: /recipes, readOnly: true}
{{- end }}
{{- if include "hilum.labelStudioUrl" . }}
- {name: label-studio, mountPath: /etc/hilum/label-studio, readOnly: true}
{{- end }}
{{- if .Values.bridge.enabled }}
- {name: bridge, mountPath: /etc/hilum/bridge, readOnly: true}
{{- end }}
{{- end }}

{{- define "hilum.volumes" -}}
- name: scratch
  emptyDir: {sizeLimit: {{ .Values.pod.scratch }}}
{{- with .Values.store.existingClaim }}
- name: store
  persistentVolumeClaim: {claimName: {{ . }}}
{{- end }}
{{- if .Values.recipes }}
- name: recipes
  configMap: {name: {{ include "hilum.fullname" . }}-recipes}
{{- end }}
{{- if include "hilum.labelStudioUrl" . }}
- name: label-studio
  secret:
    secretName: {{ .Values.labelStudio.existingSecret }}
    items: [{key: token, path: token}]
{{- end }}
{{- if .Values.bridge.enabled }}
- name: bridge
  secret: {secretName: {{ .Values.bridge.existingSecret }}}
{{- end }}
{{- end }}
