"""Who may speak with whom, worked out from the rendered network policies as Kubernetes defines them."""

import ipaddress
from dataclasses import dataclass, field

import pytest
import yaml
from tests.helm import engine
from tests.helm.test_chart import _pods

OURS = {"kubernetes.io/metadata.name": engine.NAMESPACE}


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod by its labels and its namespace's, or an address outside."""

    labels: dict = field(default_factory=dict)
    namespace: dict = field(default_factory=lambda: OURS)
    address: str = ""


def somewhere(name):
    return End(namespace={"kubernetes.io/metadata.name": name}, labels={"app": name})


OPERATOR, PROMETHEUS, INGRESS, DNS = map(somewhere, ("kuberay-system", "monitoring", "ingress-nginx", "kube-system"))
STRANGER = somewhere("somebody-else")
NEIGHBOUR = End(labels={"app": "another-program-in-our-namespace"})
STORE, METADATA, DATABASE = End(address="52.216.0.1"), End(address="169.254.169.254"), End(address="10.20.0.7")
API_SERVER = End(address="10.96.0.1")


def _selects(selector, labels):
    same = (selector or {}).get("matchLabels", {})
    if not same.items() <= labels.items():
        return False
    for one in (selector or {}).get("matchExpressions", ()):
        assert one["operator"] == "In"
        if labels.get(one["key"]) not in one["values"]:
            return False
    return True


def _is_peer(peer, end):
    if "ipBlock" in peer:
        if not end.address:
            return False
        address, block = ipaddress.ip_address(end.address), peer["ipBlock"]
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(address in ipaddress.ip_network(one) for one in block.get("except", ()))
    if end.address:
        return False
    namespace = (
        _selects(peer["namespaceSelector"], end.namespace) if "namespaceSelector" in peer else end.namespace == OURS
    )
    return namespace and _selects(peer.get("podSelector"), end.labels)


class Network:
    """The policies of one rendering."""

    def __init__(self, documents):
        self.policies = [one["spec"] for one in documents if one["kind"] == "NetworkPolicy"]
        self.pods = {component: End(labels) for component, _, labels in _pods(documents)}

    def allows(self, source, target, port, protocol="TCP"):
        source, target = (self.pods[one] if isinstance(one, str) else one for one in (source, target))
        return self._lets("Egress", source, target, port, protocol) and self._lets(
            "Ingress", target, source, port, protocol
        )

    def _lets(self, direction, own, other, port, protocol):
        if own.address or own.namespace != OURS:
            return True  # others' pods are under others' policies
        about = [
            one for one in self.policies if direction in one["policyTypes"] and _selects(one["podSelector"], own.labels)
        ]
        if not about:
            return True
        rules = [rule for policy in about for rule in policy.get(direction.lower()) or ()]
        return any(self._rule_lets(rule, direction, other, port, protocol) for rule in rules)

    def _rule_lets(self, rule, direction, other, port, protocol):
        ports = rule.get("ports")
        if ports and not any(one["port"] == port and one["protocol"] == protocol for one in ports):
            return False
        peers = rule.get("to" if direction == "Egress" else "from")
        return peers is None or any(_is_peer(peer, other) for peer in peers)


@pytest.fixture(scope="module")
def everything():
    """All parts at once."""
    both = [
        yaml.safe_load((engine.CHART / "ci" / f"{name}-values.yaml").read_text()) for name in ("ingress", "postgres")
    ]
    values = {**both[0], **both[1], "ledger": {"existingSecret": ""}}
    values |= {
        "cluster": {"enabled": True},
        "control": {"enabled": True},
        "rounds": {"campaigns": [{"name": "liver", "schedule": "@hourly"}]},
        "networkPolicy": {"databaseCidr": "10.20.0.0/24"},
    }
    return Network(engine.objects(**values))


NEEDED = [
    *((node, node, port) for node in ("cluster", "job", "inference") for port in (6379, 8265, 10002, 23456)),
    *((OPERATOR, node, port) for node in ("cluster", "job", "inference") for port in (8265, 8000)),
    *((PROMETHEUS, node, 8080) for node in ("cluster", "job", "inference")),
    (PROMETHEUS, "control", 9464),
    (PROMETHEUS, "bridge", 9090),
    *(("submitter", node, 8265) for node in ("cluster", "job")),
    *((node, API_SERVER, 443) for node in ("cluster", "job", "inference", "rounds")),
    *((reader, STORE, 443) for reader in ("cluster", "job", "inference", "bridge", "control", "test")),
    *((reader, "postgres", 5432) for reader in ("cluster", "job", "inference", "bridge", "control", "test")),
    *((reader, DATABASE, 5432) for reader in ("cluster", "job", "bridge", "control")),
    *((worker, "label-studio", 8080) for worker in ("cluster", "job")),
    ("label-studio", "bridge", 9090),
    (INGRESS, "bridge", 9090),
    (INGRESS, "label-studio", 8080),
    (INGRESS, "inference", 8000),
    ("test", "bridge", 9090),
    ("test", "control", 9464),
    ("test", "inference", 8000),
    ("test", "label-studio", 8080),
]
FORBIDDEN = [
    *((STRANGER, part, port) for part, port in (("job", 8265), ("job", 6379), ("job", 10001), ("inference", 8000))),
    *((STRANGER, part, port) for part, port in (("bridge", 9090), ("postgres", 5432), ("control", 9464))),
    *((NEIGHBOUR, part, port) for part, port in (("job", 8265), ("cluster", 6379), ("postgres", 5432))),
    *((INGRESS, part, port) for part, port in (("job", 8265), ("cluster", 8265), ("inference", 8265))),
    (INGRESS, "postgres", 5432),
    (INGRESS, "control", 9464),
    (PROMETHEUS, "job", 8265),
    (OPERATOR, "postgres", 5432),
    ("inference", "job", 6379),
    ("job", "inference", 6379),
    ("label-studio", "postgres", 5432),
    ("label-studio", "job", 8265),
    ("label-studio", STORE, 443),
    ("label-studio", METADATA, 80),
    ("bridge", "job", 8265),
    ("bridge", METADATA, 443),
    ("job", METADATA, 443),
    ("job", METADATA, 80),
    ("postgres", STORE, 443),
    ("postgres", "bridge", 9090),
    ("control", API_SERVER, 6443),
    ("submitter", STORE, 443),
    ("rounds", "postgres", 5432),
    ("job", STORE, 22),
]


def _said(case):
    return "-".join(one if isinstance(one, str) else str(one.address or one.labels.get("app")) for one in case[:2]) + (
        f"-{case[2]}"
    )


@pytest.mark.parametrize("case", NEEDED, ids=_said)
def test_what_has_to_speak_may(everything, case):
    assert everything.allows(*case)


@pytest.mark.parametrize("case", FORBIDDEN, ids=_said)
def test_what_has_no_business_may_not(everything, case):
    assert not everything.allows(*case)


def test_everybody_may_ask_for_names_and_nobody_is_left_out(everything):
    assert set(everything.pods) == {
        *("cluster", "job", "inference", "submitter", "rounds", "test"),
        *("bridge", "control", "label-studio", "postgres"),
    }
    for component in everything.pods:
        assert everything.allows(component, DNS, 53, "UDP")
        assert everything.allows(component, DNS, 53)
        assert not everything.allows(component, STRANGER, 80)
        assert not everything.allows(STRANGER, component, 80)


def test_without_policies_everything_is_open_and_the_notes_say_so():
    values = engine.CHART / "ci" / "jobs-values.yaml"
    open_ = Network(engine.objects(values, networkPolicy={"enabled": False}))
    assert open_.policies == []
    assert open_.allows(STRANGER, "job", 8265)
    notes = (engine.CHART / "templates" / "NOTES.txt").read_text()
    assert "networkPolicy.enabled is false" in notes
