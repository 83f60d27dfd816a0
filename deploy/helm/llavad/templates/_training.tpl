{{/* What the pods of training share. Takes (dict "root" $ "component" ... ). */}}
{{- define "llavad.trainPod" -}}
{{- $t := .root.Values.training -}}
serviceAccountName: {{ include "llavad.serviceAccount" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- include "llavad.podSecurity" .root | nindent 2 }}
{{- with $t.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $t.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "llavad.trainContainer" -}}
{{- $t := .root.Values.training -}}
image: {{ include "llavad.image" (list .root $t.image) }}
imagePullPolicy: {{ $t.image.pullPolicy }}
securityContext: {{- include "llavad.containerSecurity" .root | nindent 2 }}
resources: {{- include "llavad.resources" (dict "resources" $t.resources "gpu" $t.gpu) | nindent 2 }}
{{- end -}}

{{- define "llavad.trainMounts" -}}
{{- $t := .root.Values.training -}}
- {name: tmp, mountPath: /tmp}
- {name: recipes, mountPath: /etc/llava-train/recipes, readOnly: true}
{{- if $t.models.claimName }}
- name: models
  mountPath: /models
  {{- with $t.models.subPath }}
  subPath: {{ . }}
  {{- end }}
{{- end }}
{{- if $t.data.claimName }}
- name: data
  mountPath: /data
  readOnly: true
  {{- with $t.data.subPath }}
  subPath: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "llavad.trainVolumes" -}}
{{- $t := .root.Values.training -}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
- name: recipes
  configMap: {name: {{ include "llavad.fullname" .root }}-recipes}
{{- if $t.models.claimName }}
- name: models
  persistentVolumeClaim: {claimName: {{ $t.models.claimName }}}
{{- end }}
{{- if $t.data.claimName }}
- name: data
  persistentVolumeClaim: {claimName: {{ $t.data.claimName }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* A pod is not counted as failed when it was told to go: 75 is what llava-train exits with after it has saved. */}}
{{- define "llavad.trainFailures" -}}
podFailurePolicy:
  rules:
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
    - action: Ignore
      onExitCodes: {containerName: train, operator: In, values: [75]}
{{- end -}}

{{/* Fails with a sentence unless the recipe is one of `recipes`. Takes (dict "root" $ "key" "retraining" "recipe" ...). */}}
{{- define "llavad.recipe" -}}
{{- if not (hasKey .root.Values.training.recipes .recipe) -}}
{{- fail (printf "training.%s.recipe is %q: expected a key of training.recipes (%s)" .key .recipe (keys .root.Values.training.recipes | sortAlpha | join ", ")) -}}
{{- end -}}
/etc/llava-train/recipes/{{ .recipe }}
{{- end -}}

{{/* Makes the folder of a run as the user that writes there: Kubernetes makes what a subPath lacks as root, which only volumes
with fsGroup mend. Takes (dict "root" $ "folder" "..." "env" list). */}}
{{- define "llavad.trainFolder" -}}
- name: folder
  {{- include "llavad.trainContainer" . | nindent 2 }}
  command: [mkdir, -p, {{ printf "/training/%s" .folder | quote }}]
  {{- with .env }}
  env: {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - {name: work, mountPath: /training}
{{- end -}}
