"""The Helm chart: rendered by Helm's own engine, judged by Kubernetes' own schemas, and held to what Ostiary does."""

import json
import re

import pytest
import yaml

from ostiary.core.limit import STORE_TRANSACTION_SECONDS_MAX
from ostiary.settings import load
from tests.deploy.rendering import ALL, CHART, LEAST, helm, of, render
from tests.tidy.tree import ROOT

VERSIONS = ["1.27.0", "1.30.0", "1.34.0", "1.37.0"]
CUSTOM = {"ScaledObject", "ServiceMonitor"}
CASES = pytest.mark.parametrize("values", [LEAST, ALL], ids=["least", "all"])


def refused(values):
    with pytest.raises(Exception) as caught:
        render(values)
    assert type(caught.value).__module__.startswith("helm_python"), caught.value
    return str(caught.value)


def pod(objects):
    return of(objects, "StatefulSet", "gate")["spec"]["template"]["spec"]


# --- form -----------------------------------------------------------------------------------------------------


@CASES
def test_helm_finds_nothing_wrong(values):
    report = helm().lint(str(CHART), values, strict=True)
    worst = [message for message in report["messages"] if message["severity"] >= 2]
    assert (report["errors"], worst) == ([], [])


@CASES
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_what_kubernetes_takes(values, version):
    validate = pytest.importorskip("kubernetes_validate")
    kinds = set()
    for one in render(values):
        kinds.add(one["kind"])
        if one["kind"] not in CUSTOM:
            validate.validate(one, version, strict=True)
    least = {"ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "StatefulSet"}
    assert kinds == (least if values is LEAST else least | CUSTOM | {"Ingress", "HorizontalPodAutoscaler"})


def test_the_schemas_would_notice():
    validate = pytest.importorskip("kubernetes_validate")
    broken = of(render(LEAST), "StatefulSet", "gate")
    broken["spec"]["template"]["spec"]["containers"][0]["readinessProb"] = {}
    with pytest.raises(validate.ValidationError):
        validate.validate(broken, VERSIONS[-1], strict=True)


def test_values_nobody_knows_or_that_cannot_be_are_refused():
    for wrong in (
        {"replica": 3},
        {"replicas": 0},
        {"journal": {"drainSecond": 5}},
        {"image": {"digest": "latest"}},
        {"admin": {"namespaceLabels": {"a": 1}}},
        {"selfHosted": {"targets": [{"name": "x"}]}},
        {"selfHosted": {"targets": [{**ALL["selfHosted"]["targets"][0], "target": 'a"} or vector(1) #'}]}},
    ):
        assert "schema" in refused({**LEAST, **wrong}), wrong


def test_the_schema_knows_every_value_and_no_other():
    def names(schema, at=""):
        for name, one in schema.get("properties", {}).items():
            yield f"{at}{name}"
            yield from names(one, f"{at}{name}.")

    def keys(values, at=""):
        for name, one in values.items():
            yield f"{at}{name}"
            if isinstance(one, dict):
                yield from keys(one, f"{at}{name}.")

    schema = set(names(json.loads((CHART / "values.schema.json").read_bytes()))) - {"global"}
    values = set(keys(yaml.safe_load((CHART / "values.yaml").read_bytes())))
    assert {name for name in values - schema if not name.startswith("admin.namespaceLabels.")} <= {
        name for name in values if name.startswith("resources.")
    }
    assert schema - values == {f"config.{name}" for name in ("pricing", "cache", "log", "overload")}


def test_clear_text_must_be_chosen():
    assert "tls.insecure" in refused({"config": LEAST["config"]})


# --- what holds -----------------------------------------------------------------------------------------------


@CASES
def test_replicas_are_a_stateful_set_with_a_volume_for_the_journal(values):
    objects = render(values)
    one = of(objects, "StatefulSet", "gate")["spec"]
    (claim,) = one["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "journal"
    assert one["persistentVolumeClaimRetentionPolicy"] == {"whenScaled": "Retain", "whenDeleted": "Retain"}
    headless = of(objects, "Service", one["serviceName"])
    assert headless["spec"]["clusterIP"] == "None"
    (gateway,) = pod(objects)["containers"]
    mounted = {mount["mountPath"]: mount for mount in gateway["volumeMounts"]}
    assert mounted["/var/lib/ostiary"]["name"] == "journal"
    environment = {entry["name"]: entry for entry in gateway["env"]}
    assert environment["OSTIARY_REPLICA"]["value"] == "$(POD_NAME)-*"
    assert list(environment) == ["POD_NAME", "OSTIARY_REPLICA"]
    assert ("replicas" in one) != values.get("autoscaling", {}).get("enabled", False)


def test_a_pod_has_the_time_its_drain_may_take():
    for server, journal in ((5, 10), (60, 600)):
        values = {
            **LEAST,
            "server": {"drainNoticeSeconds": 7, "drainSeconds": server},
            "journal": {"drainSeconds": journal},
        }
        objects = render(values)
        grace = pod(objects)["terminationGracePeriodSeconds"]
        settings = yaml.safe_load(of(objects, "ConfigMap", "gate")["data"]["ostiary.yaml"])
        assert settings["server"]["drain_seconds"] == server
        assert settings["journal"]["drain_seconds"] == journal
        # What the supervisor gives the workers, then the ops process: bootstrap/prepare.py.
        assert grace > 7 + server + 5 + journal + STORE_TRANSACTION_SECONDS_MAX
    scaler = of(render({**values, "autoscaling": {"enabled": True}}), "HorizontalPodAutoscaler", "gate")
    assert scaler["spec"]["behavior"]["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": grace}]


@CASES
def test_probes_ask_what_the_gateway_answers_where_it_answers(values):
    (gateway,) = pod(render(values))["containers"]
    ports = {port["name"]: port["containerPort"] for port in gateway["ports"]}
    assert ports == {"client": 8080, "admin": 8081}
    scheme = "HTTPS" if values["tls"].get("secretName") else "HTTP"
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert gateway[probe]["httpGet"] == {"path": path, "port": "client", "scheme": scheme}


@CASES
def test_containers_may_do_nothing_they_need_not(values):
    objects = render(values)
    spec = pod(objects)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in (*spec["initContainers"], *spec["containers"]):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert of(objects, "Secret") == []  # the chart holds none


@CASES
def test_administration_is_a_service_of_its_own_and_never_published(values):
    objects = render(values)
    admin = of(objects, "Service", "gate-admin")["spec"]
    assert (admin["type"], [port["port"] for port in admin["ports"]]) == ("ClusterIP", [8081])
    for service in of(objects, "Service"):
        if service["metadata"]["name"] != "gate-admin":
            assert all(port["targetPort"] == "client" for port in service["spec"]["ports"])
            assert service["spec"].get("type", "ClusterIP") == "ClusterIP"
    for ingress in of(objects, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                assert path["backend"] == {"service": {"name": "gate", "port": {"name": "client"}}}


def allowed(objects, direction):
    """What the policies let through, as (ports, peers); None for every peer."""
    rules = []
    for policy in of(objects, "NetworkPolicy"):
        spec = policy["spec"]
        assert spec["podSelector"]["matchLabels"] == {
            "app.kubernetes.io/name": "ostiary",
            "app.kubernetes.io/instance": "gate",
        }
        for rule in spec.get(direction, []):
            assert rule["ports"]
            rules.append(
                (tuple(port["port"] for port in rule["ports"]), rule.get("from" if direction == "ingress" else "to"))
            )
    return rules


def test_nothing_comes_in_or_goes_out_that_is_not_named():
    objects = render(LEAST)
    nothing = of(objects, "NetworkPolicy", "gate-nothing")["spec"]
    assert nothing["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in nothing
    assert "egress" not in nothing
    assert allowed(objects, "ingress") == [
        ((8080,), None),
        ((8081,), [{"namespaceSelector": {"matchLabels": {"ostiary/admin": "true"}}}]),
    ]
    names = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]
    providers = [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]
    assert allowed(objects, "egress") == [((53, 53), names), ((5432,), None), ((6379,), None), ((443,), providers)]
    narrowed = render(ALL)
    assert allowed(narrowed, "ingress")[0] == ((8080,), ALL["networkPolicy"]["clients"])
    assert ((6432,), ALL["networkPolicy"]["postgresql"]["to"]) in allowed(narrowed, "egress")
    assert ((9000,), ALL["networkPolicy"]["more"][0]["to"]) in allowed(narrowed, "egress")


def test_disruptions_take_one_replica_at_a_time_and_replicas_stand_apart():
    objects = render(LEAST)
    budget = of(objects, "PodDisruptionBudget", "gate")["spec"]
    labels = {"app.kubernetes.io/name": "ostiary", "app.kubernetes.io/instance": "gate"}
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    spread = pod(objects)["topologySpreadConstraints"]
    assert {one["topologyKey"] for one in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}


def metrics():
    """The metrics there are, each with its labels."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(ostiary_\w+)` \| (\w+) \| ([^|]*)\|", text, re.M)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_what_is_scaled_by_is_a_gauge_that_there_is():
    objects = render(ALL)
    there = metrics()
    named = set()
    for metric in of(objects, "HorizontalPodAutoscaler", "gate")["spec"]["metrics"]:
        one = metric["pods"]["metric"]
        named.add((one["name"], one["selector"]["matchExpressions"][0]["key"]))
    for scaled in of(objects, "ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            named |= set(re.findall(r'(\w+)\{(\w+)="', trigger["metadata"]["query"]))
    assert {name for name, _ in named} == {"ostiary_calls_waiting", "ostiary_calls_in_flight", "ostiary_places"}
    for name, label in named:
        assert name in there, f"docs/metrics.md has no {name}"
        kind, labels = there[name]
        assert kind == "gauge"
        assert label in labels


def test_each_self_hosted_target_is_scaled_by_its_queue_and_its_utilisation():
    scaled = of(render(ALL), "ScaledObject")
    assert [one["metadata"]["name"] for one in scaled] == ["gate-onsite", "gate-large"]
    waiting, used = (trigger["metadata"] for trigger in scaled[1]["spec"]["triggers"])
    assert waiting["query"] == 'sum(ostiary_calls_waiting{target="onsite/large-v2"})'
    assert used["query"] == (
        'sum(ostiary_calls_in_flight{target="onsite/large-v2"}) / sum(ostiary_places{target="onsite/large-v2"})'
    )
    assert (waiting["threshold"], used["threshold"]) == ("1", "0.5")
    assert scaled[1]["spec"]["scaleTargetRef"] == {"kind": "StatefulSet", "name": "vllm-large"}


@CASES
def test_the_configuration_in_it_is_one_that_is_taken(values, tmp_path):
    file = tmp_path / "ostiary.yaml"
    file.write_text(of(render(values), "ConfigMap", "gate")["data"]["ostiary.yaml"], encoding="utf-8")
    settings = load(file).settings
    assert (settings.server.port, settings.admin.port, settings.server.workers) == (8080, 8081, 2)
    assert settings.server.insecure == (settings.server.tls is None)
    assert settings.data_dir == "/var/lib/ostiary"


# --- documents ------------------------------------------------------------------------------------------------


def page():
    return (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def test_the_values_shown_are_taken(tmp_path):
    (block,) = re.findall(r"```yaml fragment\n(.*?)```", page(), re.S)
    file = tmp_path / "ostiary.yaml"
    file.write_text(of(render(yaml.safe_load(block)), "ConfigMap", "gate")["data"]["ostiary.yaml"], encoding="utf-8")
    assert list(load(file).settings.models) == ["chat"]


def test_the_signals_told_are_those_the_chart_scales_by():
    (table,) = re.findall(r"<!-- signals -->\n(.*?)<!-- /signals -->", page(), re.S)
    assert set(re.findall(r"ostiary_\w+", table)) == {
        "ostiary_calls_waiting",
        "ostiary_calls_in_flight",
        "ostiary_places",
    }


def test_versions_said_to_be_tried_are_those_that_are():
    text = page()
    assert f"Kubernetes {VERSIONS[0][:4]} to {VERSIONS[-1][:4]}" in text
    assert f"({helm().helm_sdk_version().lstrip('v')[:3]})" in text
