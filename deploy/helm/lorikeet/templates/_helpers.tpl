{{- define "lorikeet.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "lorikeet.headless" -}}
{{ include "lorikeet.name" . }}-nodes
{{- end }}

{{- define "lorikeet.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lorikeet.labels" -}}
{{ include "lorikeet.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "lorikeet.nodes" -}}
{{- if .Values.cluster.enabled }}{{ int .Values.cluster.nodes }}{{ else }}1{{ end }}
{{- end }}

{{- /* host:port of every node's NATS server. A node leaves out the one that is the same as its --cluster-advertise. */ -}}
{{- define "lorikeet.peers" -}}
{{- $peers := list }}
{{- range $i := until (int .Values.cluster.nodes) }}
{{- $peers = append $peers (printf "%s-%d.%s.%s.svc:%d" (include "lorikeet.name" $) $i (include "lorikeet.headless" $) $.Release.Namespace (int $.Values.cluster.port)) }}
{{- end }}
{{- join "," $peers }}
{{- end }}

{{- define "lorikeet.apiKeySecret" -}}
{{- .Values.apiKeys.existingSecret | default (printf "%s-api-keys" (include "lorikeet.name" .)) }}
{{- end }}

{{- define "lorikeet.clusterSecret" -}}
{{- .Values.cluster.secret.existingSecret | default (printf "%s-cluster" (include "lorikeet.name" .)) }}
{{- end }}
