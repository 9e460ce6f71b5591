{{/* The Ray cluster that RayCluster, RayJob and RayService share. */}}

{{/* (dict "root" $ "component" NAME "role" head|worker "cpu" … "memory" … "gpus" … "gpuResource" … "extraEnv" … "extraMounts" … "ports" YAML) */}}
{{- define "hilum.rayContainer" -}}
name: ray-{{ .role }}
image: {{ include "hilum.image" (dict "root" .root "gpu" (gt (int .gpus) 0)) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {{- include "hilum.containerSecurity" .root | nindent 2 }}
env:
  {{- include "hilum.env" .root | nindent 2 }}
  # Freed memory stays with the process: platform/hilum/nn/kept_memory.py.
  - {name: MALLOC_ARENA_MAX, value: "1"}
  - {name: MALLOC_MMAP_THRESHOLD_, value: "33554432"}
  - {name: MALLOC_TRIM_THRESHOLD_, value: "1073741824"}
  {{- if eq .component "inference" }}
  - {name: HILUM_API_KEYS_FILE, value: /etc/hilum/keys/keys.json}
  # Short ways of a request: platform/hilum/cli/serve.py.
  - {name: RAY_SERVE_PROXY_USE_GRPC, value: "1"}
  - {name: RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD, value: "0"}
  {{- end }}
ports:
  - {name: metrics, containerPort: 8080}
  {{- if eq .role "head" }}
  - {name: gcs-server, containerPort: 6379}
  - {name: dashboard, containerPort: 8265}
  {{- end }}
  {{- if eq .component "inference" }}
  - {name: serve, containerPort: 8000}
  {{- end }}
resources:
  {{- /* Ray reads the limits to know what a node has. */}}
  {{- range list "requests" "limits" }}
  {{ . }}:
    cpu: {{ $.cpu | quote }}
    memory: {{ $.memory }}
    {{- if gt (int $.gpus) 0 }}
    {{ $.gpuResource }}: {{ $.gpus | quote }}
    {{- end }}
  {{- end }}
volumeMounts:
  {{- include "hilum.mounts" .root | nindent 2 }}
  {{- if eq .component "inference" }}
  - {name: api-keys, mountPath: /etc/hilum/keys, readOnly: true}
  {{- end }}
{{- end }}

{{/* The same, and "account", "token", "nodeSelector", "tolerations", "graceSeconds" */}}
{{- define "hilum.rayPod" -}}
metadata:
  labels: {{- include "hilum.selector" . | nindent 4 }}
  {{- $annotations := .root.Values.pod.annotations }}
  {{- if and (eq .role "head") .root.Values.ray.head.protected }}
  {{- $annotations = merge (dict "cluster-autoscaler.kubernetes.io/safe-to-evict" "false" "karpenter.sh/do-not-disrupt" "true") $annotations }}
  {{- end }}
  {{- with $annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "hilum.podCommon" . | nindent 2 }}
  {{- with .root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .graceSeconds }}
  {{- if .autoscaled }}
  {{- /* Ray's autoscaler counts instances: one that comes back by itself is not among them. */}}
  restartPolicy: Never
  {{- end }}
  {{- with .nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - {{- include "hilum.rayContainer" . | nindent 6 }}
  volumes:
    {{- include "hilum.volumes" .root | nindent 4 }}
    {{- if eq .component "inference" }}
    - name: api-keys
      secret: {secretName: {{ .root.Values.inference.apiKeysSecret }}}
    {{- end }}
{{- end }}

{{/* (dict "root" $ "component" NAME "autoscaled" BOOL "groups" DICT) */}}
{{- define "hilum.rayClusterSpec" -}}
{{- $ray := .root.Values.ray -}}
rayVersion: {{ $ray.version | quote }}
authOptions: {mode: token, secretName: {{ $ray.tokenSecret }}}
enableInTreeAutoscaling: {{ .autoscaled }}
{{- if .autoscaled }}
autoscalerOptions:
  version: v2
  idleTimeoutSeconds: {{ $ray.autoscaler.idleTimeoutSeconds }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  securityContext: {{- include "hilum.containerSecurity" .root | nindent 4 }}
  resources:
    requests: {cpu: 200m, memory: 512Mi}
    limits: {cpu: 500m, memory: 1Gi}
  env:
    - {name: HOME, value: /tmp}
  volumeMounts:
    - {name: scratch, mountPath: /tmp}
{{- end }}
{{- if and $ray.headStorage.redisAddress (ne .component "job") }}
gcsFaultToleranceOptions:
  redisAddress: {{ $ray.headStorage.redisAddress | quote }}
  {{- with $ray.headStorage.existingSecret }}
  redisPassword:
    valueFrom: {secretKeyRef: {name: {{ . }}, key: password}}
  {{- end }}
{{- end }}
headGroupSpec:
  rayStartParams:
    num-cpus: "0"
    dashboard-host: 0.0.0.0
    metrics-export-port: "8080"
  template:
    {{- $head := dict "role" "head" "account" "head" "token" .autoscaled "cpu" $ray.head.cpu "memory" $ray.head.memory "gpus" 0 "nodeSelector" $ray.head.nodeSelector "tolerations" $ray.head.tolerations "graceSeconds" 60 }}
    {{- include "hilum.rayPod" (merge $head .) | nindent 4 }}
workerGroupSpecs:
  {{- range $name, $group := .groups }}
  {{- if $group.enabled }}
  - groupName: {{ $name }}
    replicas: {{ $group.minReplicas }}
    minReplicas: {{ $group.minReplicas }}
    maxReplicas: {{ $group.maxReplicas }}
    rayStartParams:
      metrics-export-port: "8080"
    template:
      {{- $tolerations := ternary (concat $group.tolerations $ray.spot.tolerations) $group.tolerations $group.spot }}
      {{- $worker := dict "role" "worker" "account" "" "token" false "tolerations" $tolerations "graceSeconds" $ray.spot.gracePeriodSeconds }}
      {{- include "hilum.rayPod" (merge $worker (omit $group "enabled" "tolerations") (omit $ "groups")) | nindent 6 }}
  {{- end }}
  {{- end }}
{{- end }}

{{/* The RayJob of any command. `hilum submit --to k8s` fills in the name and the command. */}}
{{- define "hilum.rayJob" -}}
apiVersion: ray.io/v1
kind: RayJob
metadata:
  name: {{ include "hilum.fullname" . }}-job
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "hilum.labels" (dict "root" . "component" "job") | nindent 4 }}
    {{- with .Values.jobs.queueName }}
    kueue.x-k8s.io/queue-name: {{ . }}
    {{- end }}
spec:
  entrypoint: python -m hilum --version
  # KubeRay would also try again what ended with an exit code of its own: `hilum submit` knows the difference.
  backoffLimit: 0
  submissionMode: K8sJobMode
  submitterConfig: {backoffLimit: 2}
  activeDeadlineSeconds: {{ int .Values.jobs.activeDeadlineSeconds }}
  {{- if .Values.jobs.onCluster }}
  clusterSelector:
    ray.io/cluster: {{ include "hilum.fullname" . }}-cluster
  {{- else }}
  shutdownAfterJobFinishes: true
  ttlSecondsAfterFinished: {{ int .Values.jobs.ttlSecondsAfterFinished }}
  rayClusterSpec:
    {{- $autoscaled := and .Values.ray.autoscaler.enabled (not .Values.jobs.queueName) }}
    {{- include "hilum.rayClusterSpec" (dict "root" . "component" "job" "autoscaled" $autoscaled "groups" .Values.ray.workers) | nindent 4 }}
  {{- end }}
  submitterPodTemplate:
    metadata:
      labels: {{- include "hilum.selector" (dict "root" . "component" "submitter") | nindent 8 }}
    spec:
      {{- include "hilum.podCommon" (dict "root" .) | nindent 6 }}
      restartPolicy: Never
      containers:
        - name: ray-job-submitter
          image: {{ include "hilum.image" (dict "root" .) }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          securityContext: {{- include "hilum.containerSecurity" . | nindent 12 }}
          env:
            - {name: HOME, value: /tmp}
            - {name: RAY_USAGE_STATS_ENABLED, value: "0"}
          resources:
            requests: {cpu: 100m, memory: 512Mi}
            limits: {cpu: "1", memory: 1Gi}
          volumeMounts:
            - {name: scratch, mountPath: /tmp}
      volumes:
        - name: scratch
          emptyDir: {sizeLimit: 1Gi}
{{- end }}
