{{- define "llavad.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "llavad.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "llavad.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "llavad.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that choose pods: never changed after an install. Takes (list $ component). */}}
{{- define "llavad.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "llavad.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "llavad.labels" -}}
{{- $root := index . 0 -}}
{{ include "llavad.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Takes (list $ image). */}}
{{- define "llavad.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest | quote -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (index . 0).Chart.AppVersion $image.tag) | quote -}}
{{- end -}}
{{- end -}}

{{- define "llavad.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}{{ .Values.serviceAccount.name }}{{- else if .Values.serviceAccount.create -}}
{{- include "llavad.fullname" . -}}{{- else -}}default{{- end -}}
{{- end -}}

{{- define "llavad.tlsSecret" -}}
{{- if .Values.tls.secretName -}}{{ .Values.tls.secretName }}
{{- else if .Values.certificate.enabled -}}{{ include "llavad.fullname" . }}-tls{{- end -}}
{{- end -}}

{{/* The port of HOST:PORT. */}}
{{- define "llavad.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}

{{/* Whole seconds of 500ms, 30s, 5m or 1h, upwards. */}}
{{- define "llavad.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- if eq $unit "ms" -}}{{ div (add $number 999) 1000 }}
{{- else if eq $unit "m" -}}{{ mul $number 60 }}
{{- else if eq $unit "h" -}}{{ mul $number 3600 }}
{{- else -}}{{ $number }}{{- end -}}
{{- end -}}

{{/* llavad.yaml: the values, and what the mounted Secrets mean. */}}
{{- define "llavad.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if include "llavad.tlsSecret" . -}}
{{- $_ := set $config "tls_certificate" "/etc/llavad/tls/tls.crt" -}}
{{- $_ := set $config "tls_key" "/etc/llavad/tls/tls.key" -}}
{{- if .Values.tls.clientCa -}}{{- $_ := set $config "tls_client_ca" "/etc/llavad/tls/ca.crt" -}}{{- end -}}
{{- end -}}
{{- if .Values.tokens.secretName -}}
{{- $_ := set $config "tokens_file" (printf "/etc/llavad/tokens/%s" .Values.tokens.key) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* The action of a probe that asks whether the process lives; Kubernetes' gRPC probes speak no TLS. Takes (list $tls $grpcPort). */}}
{{- define "llavad.alive" -}}
{{- if index . 0 -}}
httpGet: {path: /healthz, port: metrics}
{{- else -}}
grpc: {port: {{ index . 1 }}, service: liveness}
{{- end -}}
{{- end -}}

{{- define "llavad.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "llavad.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Takes (dict "resources" ... "gpu" ...). */}}
{{- define "llavad.resources" -}}
{{- $resources := deepCopy .resources -}}
{{- if .gpu.count -}}
{{- $limits := set (default (dict) $resources.limits) .gpu.resource (toString .gpu.count) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}
