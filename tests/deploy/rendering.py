"""The deployment's files as the tools that will read them see them: Helm's own engine renders the chart, Compose's own program
reads the Compose file. Where a tool has no build for this machine, what needs it is skipped and says so."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.tidy.tree import ROOT

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "ostiary"
ONSITE = {"onsite": {"dialect": "openai", "base_url": "http://127.0.0.1:9000/v1", "auth": {"scheme": "none"}}}
CONFIG = {"providers": ONSITE, "models": {"chat": {"targets": [{"provider": "onsite", "model": "tiny"}]}}}
LEAST = {"tls": {"insecure": True}, "config": CONFIG}
"""The least that must be said."""

ALL = {
    **LEAST,
    "tls": {"secretName": "gateway-tls"},
    "image": {"digest": "sha256:" + "ab" * 32},
    "imagePullSecrets": [{"name": "registry"}],
    "persistence": {"storageClass": "fast"},
    "ingress": {"enabled": True, "className": "nginx", "host": "llm.example", "tlsSecretName": "llm-tls"},
    "serviceMonitor": {"enabled": True},
    "autoscaling": {"enabled": True},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "gateway", "operator": "Exists"}],
    "podAnnotations": {"example/a": "b"},
    "selfHosted": {
        "prometheus": "http://prometheus.monitoring:9090",
        "targets": [
            {
                "name": "onsite",
                "target": "onsite",
                "workload": "vllm",
                "minReplicas": 1,
                "maxReplicas": 8,
                "callsWaiting": 4,
                "utilisation": 0.8,
            },
            {
                "name": "large",
                "target": "onsite/large-v2",
                "kind": "StatefulSet",
                "workload": "vllm-large",
                "minReplicas": 0,
                "maxReplicas": 2,
                "callsWaiting": 1,
                "utilisation": 0.5,
            },
        ],
    },
    "networkPolicy": {
        "clients": [{"namespaceSelector": {"matchLabels": {"team": "apps"}}}],
        "postgresql": {"port": 6432, "to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]},
        "redis": {"port": 6380, "to": [{"podSelector": {"matchLabels": {"app": "redis"}}}]},
        "more": [{"ports": [{"port": 9000, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "10.2.0.0/16"}}]}],
    },
}
"""Everything at once."""


def helm():
    return pytest.importorskip("helm_python", reason="no build of Helm's library for this machine")


def render(values, namespace="prod"):
    """The chart's objects. Raises Helm's own error."""
    with helm().Chart.load(str(CHART)) as chart:
        files = chart.render(values, name="gate", namespace=namespace)
    return [one for name in sorted(files) for one in yaml.safe_load_all(files[name]) if one is not None]


def of(objects, kind, name=None):
    """The objects of a kind; with a name the one."""
    found = [one for one in objects if one["kind"] == kind and name in (None, one["metadata"]["name"])]
    return found if name is None else found[0]


def compose(*words):
    """What Compose's own program says of the file; `words` go before its command."""
    program = shutil.which(
        "docker-compose", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    if program is None:
        pytest.skip("no build of Compose for this machine")
    done = subprocess.run(
        [program, "-f", str(DEPLOY / "compose.yaml"), *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
