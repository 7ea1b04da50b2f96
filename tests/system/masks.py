"""Random updates and life cycles against a small model of the contract (rest-api.md 1.4, 1.10, 3, 4.2, 4.3).

Each run has another seed, which a failure shows; TARN_SEED=N repeats that run.
"""

import os
import random

import pytest

from harness.rest import RestError

STEPS = int(os.environ.get("TARN_STEPS", "60"))


@pytest.fixture
def dice():
    seed = int(os.environ.get("TARN_SEED") or random.SystemRandom().randrange(1 << 31))
    print(f"TARN_SEED={seed}")
    return random.Random(seed)


# ---- masks: leaves by name; a path of a mask means some of them ----

COMPUTE = ("min", "max", "suspension", "settings")
SIZES = (0.5, 1, 2, 4, 16, 17, 32, 65, 112, 113, 1.5)
LIVES = (60, 300, 86400, 604800, None)  # None: never
SETTINGS = ({}, {"work_mem": "8MB"}, {"work_mem": "4MB", "statement_timeout": "5min"})


def compute_body(values, where):
    body = {}
    if "min" in values:
        body["autoscaling_limit_min_cu"] = values["min"]
    if "max" in values:
        body["autoscaling_limit_max_cu"] = values["max"]
    if "suspension" in values:
        life = values["suspension"]
        body.update({"no_suspension": True} if life is None else {"suspend_timeout_duration": f"{life}s"})
    if "settings" in values:
        if where == "endpoint":
            body["settings"] = {"pg_settings": values["settings"]}
        else:
            body["pg_settings"] = values["settings"]
    return body


def sizes_are_good(low, high):
    if any(x != 0.5 and (x < 1 or x > 112 or x != int(x)) for x in (low, high)) or low > high:
        return False
    return low == high or (high <= 64 and high - low <= 16)


def compute_values(dice):
    return {"min": lambda: dice.choice(SIZES), "max": lambda: dice.choice(SIZES),
            "suspension": lambda: dice.choice(LIVES), "settings": lambda: dice.choice(SETTINGS)}  # fmt: skip


def read_compute(status, where):
    """What a status shows of the leaves of COMPUTE."""
    shown = {"min": status["autoscaling_limit_min_cu"], "max": status["autoscaling_limit_max_cu"]}
    life = status.get("suspend_timeout_duration")
    shown["suspension"] = None if life is None else int(life[:-1])
    shown["settings"] = (status["settings"] if where == "endpoint" else status).get("pg_settings", {})
    return shown


class ProjectModel:
    def __init__(self, project):
        self.name = f"projects/{project}"
        self.defaults = {"display": project, "history": 604800, "min": 1, "max": 1, "suspension": 86400, "settings": {},
                         "native": False, "tags": []}  # fmt: skip
        self.values = dict(self.defaults)
        settings = "spec.default_endpoint_settings"
        self.paths = {
            "spec.display_name": ["display"], "spec.history_retention_duration": ["history"], settings: list(COMPUTE),
            f"{settings}.autoscaling_limit_min_cu": ["min"], f"{settings}.autoscaling_limit_max_cu": ["max"],
            f"{settings}.suspend_timeout_duration": ["suspension"], f"{settings}.no_suspension": ["suspension"],
            f"{settings}.suspension": ["suspension"], "spec.project_default_settings.suspension": ["suspension"],
            f"{settings}.pg_settings": ["settings"], "spec.enable_pg_native_login": ["native"], "spec.custom_tags": ["tags"],
            "initial_branch_spec": [], "initial_endpoint_spec": [],
        }  # fmt: skip

    def random_values(self, dice):
        return {"display": lambda: dice.choice(("a", "Ü " * 20, "x" * 256, "y" * 257)),
                "history": lambda: dice.choice((172799, 172800, 604800, 3024000, 3024001)),
                "native": lambda: dice.choice((True, False)),
                "tags": lambda: dice.choice(([], [{"key": "k", "value": "v"}], [{"key": "b", "value": ""}, {"key": "a", "value": "1"}])),
                **compute_values(dice)}  # fmt: skip

    def body(self, given):
        spec = {}
        if "display" in given:
            spec["display_name"] = given["display"]
        if "history" in given:
            spec["history_retention_duration"] = f"{given['history']}s"
        if "native" in given:
            spec["enable_pg_native_login"] = given["native"]
        if "tags" in given:
            spec["custom_tags"] = given["tags"]
        compute = compute_body(given, "project")
        if compute:
            spec["default_endpoint_settings"] = compute
        return spec

    def is_good(self, given, values):
        return (len(given.get("display", "x")) <= 256 and 172800 <= given.get("history", 604800) <= 3024000
                and sizes_are_good(values["min"], values["max"]))  # fmt: skip

    def read(self, rest):
        status = rest.get(self.name)["status"]
        return {"display": status["display_name"], "history": int(status["history_retention_duration"][:-1]),
                "native": status["enable_pg_native_login"], "tags": status.get("custom_tags", []),
                **read_compute(status["default_endpoint_settings"], "project")}  # fmt: skip


class EndpointModel:
    def __init__(self, project, model):
        self.name = f"projects/{project}/branches/production/endpoints/primary"
        self.project = model
        self.values = {leaf: model.values[leaf] for leaf in COMPUTE}
        self.paths = {
            "spec.autoscaling_limit_min_cu": ["min"], "spec.autoscaling_limit_max_cu": ["max"], "spec.suspension": ["suspension"],
            "spec.suspend_timeout_duration": ["suspension"], "spec.no_suspension": ["suspension"], "spec.settings": ["settings"],
            "spec.settings.pg_settings": ["settings"], "spec.group": [], "spec.endpoint_type": [],
        }  # fmt: skip

    @property
    def defaults(self):
        return {leaf: self.project.values[leaf] for leaf in COMPUTE}

    def random_values(self, dice):
        return compute_values(dice)

    def body(self, given):
        return compute_body(given, "endpoint")

    def is_good(self, given, values):
        return sizes_are_good(values["min"], values["max"])

    def read(self, rest):
        return read_compute(rest.get(self.name)["status"], "endpoint")


class BranchModel:
    """A branch that is neither root nor default."""

    defaults = {"protected": False, "expires": False}

    def __init__(self, project):
        self.name = f"projects/{project}/branches/dev"
        self.values = dict(self.defaults)
        expiration = ("spec.expiration", "spec.ttl", "spec.expire_time", "spec.no_expiry")
        self.paths = {"spec.is_protected": ["protected"], **{path: ["expires"] for path in expiration}}

    def random_values(self, dice):
        return {"protected": lambda: dice.choice((True, False)), "expires": lambda: dice.choice((True, False))}

    def body(self, given):
        spec = {}
        if "protected" in given:
            spec["is_protected"] = given["protected"]
        if "expires" in given:
            spec.update({"ttl": "86400s"} if given["expires"] else {"no_expiry": True})
        return spec

    def is_good(self, given, values):
        return not (values["protected"] and values["expires"])

    def read(self, rest):
        status = rest.get(self.name)["status"]
        return {"protected": status["is_protected"], "expires": "expire_time" in status}


def random_mask(dice, model):
    kind = dice.random()
    if kind < 0.15:
        return None
    if kind < 0.3:
        return "spec"
    if kind < 0.4:
        return "*"
    chosen = dice.sample(sorted(model.paths), dice.randint(1, min(4, len(model.paths))))
    if kind < 0.5:
        chosen += ["spec"]
    if kind < 0.6:
        chosen += chosen[:1]
    dice.shuffle(chosen)
    return ",".join(chosen)


def expected(model, mask, given):
    """The contract: a leaf that a path names becomes the body's value, or the default; under "spec" an absent one stays."""
    paths = (mask or "spec").split(",")
    named = set()
    for path in paths:
        named |= set(model.values) if path == "*" else set(model.paths.get(path, ()))
    values = dict(model.values)
    for leaf in values:
        if leaf in named:
            values[leaf] = given.get(leaf, model.defaults[leaf])
        elif "spec" in paths and leaf in given:
            values[leaf] = given[leaf]
    # Full replacement alone does not clear the tags.
    if "*" in paths and "tags" in values and given.get("tags", []) == []:
        values["tags"] = model.values["tags"]
    return values


def test_masks(platform, rest, project, dice):
    rest.create_branch(project, "dev")
    platform.sleep(project)  # its endpoint is changed often, and nobody has to start for it
    models = [ProjectModel(project), BranchModel(project)]
    models.append(EndpointModel(project, models[0]))
    for step in range(STEPS):
        model = dice.choice(models)
        leaves = [leaf for leaf in model.values if dice.random() < 0.4]
        makers = model.random_values(dice)
        given = {leaf: makers[leaf]() for leaf in leaves}
        mask = random_mask(dice, model)
        body = {"name": model.name, "spec": model.body(given)}
        values = expected(model, mask, given)
        what = f"step {step}: PATCH {model.name} mask={mask} {body} from {model.values}"
        query = {"update_mask": mask} if mask else {}
        if model.is_good(given, values):
            rest.run("PATCH", model.name, body, **query)
            model.values = values
        else:
            error = rest.refused("PATCH", model.name, body, **query)
            assert error.status == 400, what
        for one in models:
            assert one.read(rest) == one.values, what
    rest.run("PATCH", models[1].name, {"spec": {}}, update_mask="*")


# ---- life cycles ----


class Node:
    def __init__(self, parent):
        self.parent, self.is_deleted, self.is_protected, self.expires = parent, False, False, False


class Tree:
    """The branches of a project as the contract has them."""

    def __init__(self):
        self.nodes = {"production": Node(None)}
        self.default = "production"

    def live(self, name):
        return name in self.nodes and not self.nodes[name].is_deleted

    def has_children(self, name):
        return any(n.parent == name and not n.is_deleted for n in self.nodes.values())

    def has_protected(self):
        return any(n.is_protected and not n.is_deleted for n in self.nodes.values())

    def create(self, name, parent, protected, expires):
        if not self.live(parent):
            return 404
        if name in self.nodes:
            return 409
        if self.nodes[parent].expires or (protected and expires) or (protected and self.has_protected()):
            return 400
        self.nodes[name] = Node(parent)
        self.nodes[name].is_protected, self.nodes[name].expires = protected, expires
        return 200

    def delete(self, name, purge):
        if name not in self.nodes or (self.nodes[name].is_deleted and not purge):
            return 404
        node = self.nodes[name]
        if not node.is_deleted and (node.is_protected or node.parent is None or name == self.default or self.has_children(name)):
            return 400
        if purge:
            del self.nodes[name]
            for other in self.nodes.values():
                if other.parent == name:
                    other.parent = ""  # it stands on its own, and is no root for that
        else:
            node.is_deleted = True
        return 200

    def undelete(self, name):
        if name not in self.nodes:
            return 404
        node = self.nodes[name]
        if not node.is_deleted:
            return 400
        parent = self.nodes.get(node.parent)
        if parent and (parent.is_deleted or parent.expires):
            return 400
        if node.is_protected and self.has_protected():
            return 400
        if node.expires and self.has_children(name):
            return 400
        node.is_deleted = False
        return 200

    def make_default(self, name):
        if not self.live(name):
            return 404
        if self.nodes[name].expires:
            return 400
        self.default = name
        return 200

    def protect(self, name, protected):
        if not self.live(name):
            return 404
        node = self.nodes[name]
        if protected and not node.is_protected and (node.expires or self.has_protected()):
            return 400
        node.is_protected = protected
        return 200

    def expire(self, name, expires):
        if not self.live(name):
            return 404
        node = self.nodes[name]
        if expires and (node.is_protected or node.parent is None or name == self.default or self.has_children(name)):
            return 400
        node.expires = expires
        return 200


def attempt(rest, method, path, body=None, **query):
    try:
        rest.run(method, path, body, **query)
        return 200
    except RestError as error:
        return error.status


def check_tree(rest, project, tree, what):
    listed = {b["branch_id"]: b["status"] for b in rest.get(f"projects/{project}/branches", show_deleted="true")["branches"]}
    assert set(listed) == set(tree.nodes), what
    for name, node in tree.nodes.items():
        status = listed[name]
        assert (status["current_state"] == "DELETED") == node.is_deleted, (what, name)
        assert status["is_protected"] == node.is_protected and status["default"] == (name == tree.default), (what, name)
        assert ("expire_time" in status) == node.expires, (what, name)
    visible = [b["branch_id"] for b in rest.get(f"projects/{project}/branches")["branches"]]
    assert sorted(visible) == sorted(n for n in tree.nodes if tree.live(n)), what


def test_life_cycles(rest, new_name, dice):
    project = new_name("life")
    rest.create_project(project)
    tree, names = Tree(), ["a", "b", "c"]
    base = f"projects/{project}/branches"
    for step in range(STEPS):
        name, parent = dice.choice(names + ["production"]), dice.choice(names + ["production", "production"])
        yes, other = dice.random() < 0.5, dice.random() < 0.3
        action = dice.choice(("create", "create", "create", "delete", "purge", "undelete", "default", "protect", "expire"))
        if action == "create":
            spec = {"source_branch": f"{base}/{parent}", "is_protected": other, **({"ttl": "86400s"} if yes else {"no_expiry": True})}
            want = tree.create(name, parent, other, yes)
            got = attempt(rest, "POST", base, {"spec": spec}, branch_id=name)
            if {want, got} == {404, 409}:
                want = got  # both are wrong with it; which one is told first is not ours to say
        elif action in ("delete", "purge"):
            want = tree.delete(name, action == "purge")
            got = attempt(rest, "DELETE", f"{base}/{name}", **({"purge": "true"} if action == "purge" else {}))
        elif action == "undelete":
            want = tree.undelete(name)
            got = attempt(rest, "POST", f"{base}/{name}/undelete", {})
        elif action == "default":
            want = tree.make_default(name)
            got = attempt(rest, "PATCH", f"projects/{project}", {"spec": {"default_branch": f"{base}/{name}"}})
        elif action == "protect":
            want = tree.protect(name, yes)
            got = attempt(rest, "PATCH", f"{base}/{name}", {"spec": {"is_protected": yes}}, update_mask="spec.is_protected")
        else:
            want = tree.expire(name, yes)
            body = {"spec": {"ttl": "86400s"} if yes else {"no_expiry": True}}
            got = attempt(rest, "PATCH", f"{base}/{name}", body, update_mask="spec.expiration")
        what = f"step {step}: {action} {name} of {parent} {yes} {other}"
        assert got == want, what
        check_tree(rest, project, tree, what)
    for name, node in tree.nodes.items():
        if node.is_protected and not node.is_deleted:
            rest.run("PATCH", f"{base}/{name}", {"spec": {"is_protected": False}}, update_mask="spec.is_protected")
    rest.delete_project(project)
