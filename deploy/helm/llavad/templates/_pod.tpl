{{/* The pod of llavad, for either workload. */}}
{{- define "llavad.pod" -}}
{{- $tls := include "llavad.tlsSecret" . -}}
{{- $grpc := include "llavad.port" .Values.config.listen | int -}}
{{- $drain := include "llavad.seconds" .Values.config.drain_timeout | int -}}
{{- $waits := and (not .Values.config.checkpoint) true -}}
metadata:
  labels:
    {{- include "llavad.labels" (list . "llavad") | nindent 4 }}
    {{- with .Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    checksum/config: {{ include "llavad.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "llavad.serviceAccount" . }}
  automountServiceAccountToken: false
  # A Service named llavad would otherwise set LLAVAD_PORT and more, which are names of options here.
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  securityContext: {{- include "llavad.podSecurity" . | nindent 4 }}
  # The drain, what balancers take to notice, and some more.
  terminationGracePeriodSeconds: {{ add $drain .Values.preStopSeconds .Values.stopMarginSeconds }}
  topologySpreadConstraints:
    {{- if .Values.topologySpreadConstraints }}
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "llavad.selector" (list $ "llavad") | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.checkpoint.copy }}
  {{- if .image }}
  initContainers:
    - name: copy-checkpoint
      image: {{ .image | quote }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      {{- with .command }}
      command: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .args }}
      args: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .env }}
      env: {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext: {{- include "llavad.containerSecurity" $ | nindent 8 }}
      resources: {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - {name: models, mountPath: /models}
        {{- with .volumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
    {{- if and .verify $.Values.config.checkpoint }}
    # Every file as its manifest says, or the pod waits here, with the reason in this log; without a manifest: sound weights.
    - name: verify-checkpoint
      image: {{ include "llavad.image" (list $ $.Values.image) }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      args: [inspect, {{ $.Values.config.checkpoint | quote }}, --verify]
      securityContext: {{- include "llavad.containerSecurity" $ | nindent 8 }}
      resources: {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - {name: models, mountPath: /models, readOnly: true}
    {{- end }}
  {{- end }}
  {{- end }}
  containers:
    - name: llavad
      image: {{ include "llavad.image" (list . .Values.image) }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [--config, /etc/llavad/config/llavad.yaml]
      {{- with .Values.env }}
      env: {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: grpc, containerPort: {{ $grpc }}, protocol: TCP}
        {{- if .Values.config.http }}
        - {name: http, containerPort: {{ include "llavad.port" .Values.config.http }}, protocol: TCP}
        {{- end }}
        - {name: metrics, containerPort: {{ include "llavad.port" .Values.config.metrics }}, protocol: TCP}
      startupProbe:
        {{- if $waits }}
        # Without a checkpoint it is alive, and not ready, until one is published.
        {{- include "llavad.alive" (list $tls $grpc) | nindent 8 }}
        {{- else if $tls }}
        httpGet: {path: /readyz, port: metrics}
        {{- else }}
        grpc: {port: {{ $grpc }}}
        {{- end }}
        periodSeconds: {{ .Values.probes.periodSeconds }}
        timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
        failureThreshold: {{ max 1 (div (int .Values.probes.startupSeconds) (int .Values.probes.periodSeconds)) }}
      readinessProbe:
        {{- if $tls }}
        httpGet: {path: /readyz, port: metrics}
        {{- else }}
        grpc: {port: {{ $grpc }}}
        {{- end }}
        periodSeconds: {{ .Values.probes.periodSeconds }}
        timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
        failureThreshold: 2
      # Whether the process answers, not whether it wants requests: that also ends while a version is swapped.
      livenessProbe:
        {{- include "llavad.alive" (list $tls $grpc) | nindent 8 }}
        periodSeconds: 10
        timeoutSeconds: {{ max 5 (int .Values.probes.timeoutSeconds) }}
        failureThreshold: 6
      lifecycle:
        preStop:
          sleep: {seconds: {{ .Values.preStopSeconds }}}
      securityContext: {{- include "llavad.containerSecurity" . | nindent 8 }}
      resources: {{- include "llavad.resources" (dict "resources" .Values.resources "gpu" .Values.gpu) | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/llavad/config, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- if $tls }}
        - {name: tls, mountPath: /etc/llavad/tls, readOnly: true}
        {{- end }}
        {{- if .Values.tokens.secretName }}
        - {name: tokens, mountPath: /etc/llavad/tokens, readOnly: true}
        {{- end }}
        {{- if .Values.checkpoint.pvc.claimName }}
        - name: models
          mountPath: /models
          readOnly: {{ .Values.checkpoint.pvc.readOnly }}
          {{- with .Values.checkpoint.pvc.subPath }}
          subPath: {{ . }}
          {{- end }}
        {{- else if or .Values.checkpoint.image.reference .Values.checkpoint.copy.image }}
        - {name: models, mountPath: /models, readOnly: true}
        {{- end }}
        {{- with .Values.volumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    - name: config
      configMap: {name: {{ include "llavad.fullname" . }}}
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- if $tls }}
    - name: tls
      secret: {secretName: {{ $tls }}, defaultMode: 0440}
    {{- end }}
    {{- if .Values.tokens.secretName }}
    - name: tokens
      secret: {secretName: {{ .Values.tokens.secretName }}, defaultMode: 0440}
    {{- end }}
    {{- if .Values.checkpoint.pvc.claimName }}
    - name: models
      persistentVolumeClaim: {claimName: {{ .Values.checkpoint.pvc.claimName }}, readOnly: {{ .Values.checkpoint.pvc.readOnly }}}
    {{- else if .Values.checkpoint.image.reference }}
    - name: models
      image: {reference: {{ .Values.checkpoint.image.reference | quote }}, pullPolicy: {{ .Values.checkpoint.image.pullPolicy }}}
    {{- else if .Values.checkpoint.copy.image }}
    - name: models
      emptyDir: {sizeLimit: {{ .Values.checkpoint.copy.sizeLimit }}}
    {{- end }}
    {{- with .Values.volumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end -}}
