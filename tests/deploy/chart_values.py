"""Values that turn on every switch of the chart, alone or with what it needs."""
PVC = {"config": {"watch": "/models/published"}, "checkpoint": {"pvc": {"claimName": "models", "readOnly": False}}}
RECIPE = """name: nightly
output: /training/run
publish: /models/published
model: {checkpoint: /models/published/latest}
data: {files: [/data/rows.json], images: /data/images}
stages: [{name: tune, train: [projector], steps: 100, batch: 8, rate: 1.0e-4}]
"""
TRAINING = {"training": {"models": {"claimName": "models"}, "data": {"claimName": "rows"}, "work": {"claimName": "runs"},
                         "recipes": {"nightly.yaml": RECIPE}}}
TLS = {"tls": {"secretName": "eyes-cert", "clientCa": True}, "tokens": {"secretName": "eyes-tokens"}}
GATEWAY = [{"name": "front", "namespace": "edge", "sectionName": "https"}]

CASES = {
    "defaults": {},
    "statefulset": {"workload": "StatefulSet", "config": {"checkpoint": "/models/llava"}},
    "checkpoint on a claim": {"config": {"checkpoint": "/models/llava"},
                              "checkpoint": {"pvc": {"claimName": "models", "subPath": "llava-1.5"}}},
    "published versions on a claim": PVC,
    "checkpoint in an image": {"config": {"checkpoint": "/models/llava"},
                               "checkpoint": {"image": {"reference": "registry.example/llava-1.5@sha256:" + "0" * 64}}},
    "checkpoint copied": {
        "config": {"checkpoint": "/models/llava"},
        "checkpoint": {"copy": {"image": "debian:bookworm-slim", "command": ["cp", "-r"],
                                "args": ["/store/llava", "/models/"], "env": [{"name": "TZ", "value": "UTC"}],
                                "volumeMounts": [{"name": "store", "mountPath": "/store", "readOnly": True}]}},
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "store", "readOnly": True}}]},
    "tls and tokens": TLS,
    "a certificate of cert-manager": {"certificate": {"enabled": True, "issuerRef": {"name": "ca"},
                                                      "dnsNames": ["eyes.example"]}},
    "a gpu": {"gpu": {"count": 2}, "config": {"devices": ["cuda:0", "cuda:1"], "max_images_per_step": 2},
              "runtimeClassName": "nvidia", "nodeSelector": {"gpu": "h200"},
              "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
              "image": {"repository": "llavad-cuda", "digest": "sha256:" + "0" * 64}},
    "without http": {"config": {"http": ""}},
    "ingress": {"ingress": {"enabled": True, "className": "nginx", "host": "eyes.example", "tlsSecretName": "eyes-web",
                            "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"}}},
    "gateway": {"httpRoute": {"enabled": True, "parentRefs": GATEWAY, "hostnames": ["eyes.example"]},
                "grpcRoute": {"enabled": True, "parentRefs": GATEWAY, "hostnames": ["grpc.eyes.example"]}},
    "endpoint picker": {"httpRoute": {"enabled": True, "parentRefs": GATEWAY},
                        "inferencePool": {"enabled": True, "endpointPicker": {"name": "eyes-epp"}}},
    "hpa": {"autoscaling": {"enabled": True}},
    "hpa of a statefulset": {"workload": "StatefulSet", "autoscaling": {"enabled": True}},
    "keda": {"keda": {"enabled": True}},
    "monitoring": {"monitoring": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
                                  "podMonitor": {"enabled": True}, "rules": {"enabled": True},
                                  "dashboards": {"enabled": True}},
                   "training": {**TRAINING["training"], "service": {"enabled": True},
                                "retraining": {"enabled": True, "recipe": "nightly.yaml"}}},
    "closed to strangers": {"networkPolicy": {"clients": [{"namespaceSelector": {"matchLabels": {"name": "edge"}}}],
                                              "metrics": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
                                              "egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]}},
    "without extras": {"networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False},
                       "serviceAccount": {"create": False}, "fullnameOverride": "looker"},
    "everything about the pod": {
        "imagePullSecrets": [{"name": "registry"}], "priorityClassName": "serving", "podAnnotations": {"team": "vision"},
        "podLabels": {"cost": "vision"}, "env": [{"name": "OMP_NUM_THREADS", "value": "2"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}},
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "eyes"}}}],
        "service": {"annotations": {"a": "b"}, "grpc": {"annotations": {"a": "b"}}, "sessionAffinity": "ClientIP"},
        "serviceAccount": {"annotations": {"a": "b"}},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}},
    "training service": {"training": {**TRAINING["training"], "service": {"enabled": True}}},
    "training service, secured": {"training": {**TRAINING["training"], "service": {
        "enabled": True, "claimName": "train", "tokens": {"secretName": "train-tokens"},
        "tls": {"secretName": "train-cert", "clientCa": True},
        "triggers": [{"name": "nightly", "watch": "/data/shards", "recipe": "/etc/llava-train/recipes/nightly.yaml",
                      "published": "/models/published"}]}}},
    "retraining": {"training": {**TRAINING["training"], "retraining": {"enabled": True, "recipe": "nightly.yaml"}}},
    "run on several machines": {"training": {**TRAINING["training"], "gpu": {"count": 1},
                                             "env": [{"name": "GLOO_SOCKET_IFNAME", "value": "eth0"}],
                                             "distributed": {"enabled": True, "recipe": "nightly.yaml", "processes": 4}}},
}
