"""A small service of invented items, and an app around the page with the strict policy."""

import secrets
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from llmrec.data import Catalog, Interactions
from llmrec.pipeline import Recommender
from llmrec.reasons import Explanation
from llmrec.serve import views
from llmrec.serve.asked import Asked
from llmrec.serve.config import ServeConfig
from llmrec.serve.problems import Conflict, NotFound, Unprocessable
from llmrec.serve.records import Added, Deployment, Job, Key
from llmrec.serve.service.jobs import JobBook

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
EVIL = "<script>window.broken = 1</script><img src=x onerror=window.broken=1>"
CARD = f"""---
license: other
---
# A recommender

| case | NDCG |
|:---|---:|
| LOO | 0.31 |

{EVIL}

[x](javascript:alert(1))
"""
ITEMS = {
    "a1": ("The Lamplighter's Map", "Adventure", 2011, "A boy follows street lamps that light only for him."),
    "a2": ("Salt and Thunder", "Adventure", 1998, "Two rival captains share one broken compass."),
    "a3": ("Nine Quiet Doors", "Mystery", 2004, "A hotel where the doors change places at night."),
    "a4": ("The Orchard Problem", "Mystery", 2017, "Somebody keeps planting trees on the judge's land."),
    "a5": ("Copper Moon Rising", "Science fiction", 1987, "Miners on a small moon hear their own radio from tomorrow."),
    "a6": ("A Slow Train to Vell", "Drama", 2001, "Strangers in one compartment, and one suitcase too many."),
    "a7": ("Paper Tigers Club", "Comedy", 2013, "The worst chess club in the country is invited abroad."),
    "a8": ("Grandmother's Rocket", "Comedy", 2020, "She said it was a greenhouse."),
    "a9": ("Winter of the Foxes", "Drama", 1994, "A village school keeps open through the long snow."),
    "b/1 &x": (EVIL, "Mystery", 2009, "Its title is not what it seems."),
    "b2": ("Ein Haus für Übermorgen", "Drama", 2008, None),
    "b3": ("Signal from Station Four", "Science fiction", None, "Nobody has lived there for sixty years."),
}
BUNDLE = "0123456789abcdef"


class Store:
    """The little of a store that the page asks for."""

    def __init__(self):
        self.made, self.secrets, self.spaces, self.work = {}, {}, {}, {}

    def new_key(self, name, scopes):
        key = Key(f"k{len(self.made)}", name, scopes, None, 0.0)
        secret = f"llmrec_{key.id}_{secrets.token_urlsafe(32)}"
        self.made[key.id], self.secrets[secret] = key, key.id
        return secret

    def keys(self):
        return list(self.made.values())

    def users_page(self, cursor, limit):
        return ["newcomer"], None

    def is_erased(self, user_id):
        return False

    def values(self, space):
        return dict(self.spaces.get(space, {}))

    def put_value(self, space, name, value, *, expect_absent=False):
        if expect_absent and name in self.spaces.get(space, {}):
            raise Conflict("it is there already")
        self.spaces.setdefault(space, {})[name] = value

    def jobs(self, kind=None, limit=50):
        return list(self.work.values())[::-1]

    def delete_value(self, space, name):
        self.spaces.get(space, {}).pop(name, None)

    def add_job(self, kind, asked, *, now):
        job = Job(secrets.token_hex(4), kind, "waiting", asked, created=now, updated=now)
        self.work[job.id] = job
        return job

    def update_job(self, job_id, *, now, **changes):
        self.work[job_id] = replace(self.work[job_id], updated=now, **changes)
        return self.work[job_id]


class FakeService:
    """What `Service` answers, from a dozen items; what is asked and done is noted."""

    def __init__(self, folder):
        table = {
            "item_id": list(ITEMS),
            **{
                name: [row[place] for row in ITEMS.values()]
                for place, name in enumerate(["title", "genre", "year", "plot"])
            },
        }
        self.catalog = Catalog.from_table(table)
        log = [(f"u{user}", item) for user in range(1, 7) for item in list(ITEMS)[user : user + 4]]
        histories = Interactions.from_table(
            {"user_id": [u for u, _ in log], "item_id": [i for _, i in log], "timestamp": list(range(len(log)))},
            self.catalog,
        )
        interval = {"mean": 0.31, "low": 0.28, "high": 0.34}
        metrics = {
            "leave last out": {
                "protocol": {"name": "LOO", "n_users": 6, "n_items": 12},
                "metrics": {"NDCG@10": interval, "Recall@10": {"mean": 0.52, "low": 0.47, "high": 0.57}},
                "totals": {"coverage@10": 0.81},
                "strata": {"history": [{"label": "1-5", "n_users": 4, "metrics": {"NDCG@10": interval}}]},
            }
        }
        (folder / "README.md").write_text(CARD)
        recommender = Recommender(self.catalog, (), (), None, histories, None, {"metrics": metrics})
        snapshot = SimpleNamespace(recommender=recommender, path=str(folder), bundle=BUNDLE, alias="default")
        self.models = SimpleNamespace(
            snapshot=lambda alias="default": snapshot, aliases=lambda: ["default", "challenger"]
        )
        self.go_on = threading.Event()
        self.config, self.store = ServeConfig(bundles={"default": folder}), Store()
        self.job_book = JobBook(self.store, time.time)
        self.reset()

    def reset(self):
        self.go_on.set()
        for _ in range(200):  # a comparison of the test before ends first
            if not any(job.state in {"waiting", "running"} for job in self.store.work.values()):
                break
            time.sleep(0.02)
        self.items_now = {
            item_id: views.ItemView(item_id, dict(zip(("title", "genre", "year", "plot"), row, strict=True)), "active")
            for item_id, row in ITEMS.items()
        }
        self.dismissed, self.likes, self.lists, self.asked, self.fails = {}, {}, {}, [], None
        self.answered = 18_312
        self.store.spaces.clear()
        self.store.work.clear()
        self.store.made.clear()
        self.store.secrets.clear()

    def judge(self, recommender, templates, users, say):
        """Compare templates, as long as a test wants it to take."""
        for place, template in enumerate(templates, 1):
            say(f"retriever: {template.name} ({place} of {len(templates)})")
            assert self.go_on.wait(20)
        table = [["template", "NDCG@10 [95%]"], *([one.name, "0.31 [0.28, 0.34]"] for one in templates)]
        judged = {"heading": "retriever: LOO", "remarks": ["a note"], "tables": [table]}
        return {"verdict": "no difference can be told", "judged": [judged]}

    async def has_keys(self):
        return bool(self.store.made)

    async def find_key(self, secret):
        key = self.store.made.get(self.store.secrets.get(secret))
        return None if key is None or key.revoked else key

    def _order(self, asked):
        self.asked.append(asked)
        if self.fails is not None:
            raise self.fails
        user = asked.user_id
        history = self._history(asked)
        out = {*asked.exclude, *self.dismissed.get(user, ()), *history}
        ids = [one for one, view in self.items_now.items() if view.state == "active" and one not in out]
        genres = [self.items_now[one].fields["genre"] for one in history if one in self.items_now]
        ids.sort(key=lambda one: (self.items_now[one].fields["genre"] not in genres[-1:], one != "b/1 &x"))
        return ids[::-1] if asked.alias == "challenger" else ids

    def _history(self, asked):
        if asked.user_id is None:
            return list(asked.history or ())
        known = {f"u{user}": list(ITEMS)[user : user + 4] for user in range(1, 7)}.get(asked.user_id, [])
        return [*known, *self.likes.get(asked.user_id, [])]

    def _title(self, one):
        return self.items_now[one].fields["title"]

    def _listed(self, ids):
        return tuple(
            views.ListedItem(one, rank, 1 / rank, None, self.items_now[one].fields) for rank, one in enumerate(ids, 1)
        )

    async def recommend(self, asked, *, log=True, anonymous=None):
        items = self._listed(self._order(asked)[: asked.k])
        impression = secrets.token_hex(4) if log else None
        self.lists[impression] = (asked.user_id, [item.item_id for item in items])
        return views.Listed(items, impression, asked.alias, BUNDLE, timings={"total": 0.0123})

    async def similar(self, asked):
        if asked.item_id == "b2":
            raise Unprocessable("no retriever of this pipeline knows items by text")
        ids = [one for one in self._order(Asked(k=asked.k)) if one != asked.item_id]
        return views.Listed(self._listed(ids[: asked.k]), None, "default", BUNDLE)

    async def explain(self, asked, item_ids=None, reasons=3):
        words = "Because “{}” is like what was chosen."
        return [Explanation(one, 1, 1.0, 12, (), words.format(self._title(one))) for one in item_ids]

    async def trace(self, asked, candidates=50):
        ids = self._order(asked)

        def candidate(one, rank, came_in, columns, sources, dropped_by=None, kept=True):
            return views.CandidateView(one, self._title(one), rank, came_in, columns, sources, kept, dropped_by)

        first, second = [], []
        for rank, one in enumerate(ids, 1):
            missing = rank % 3 == 0
            columns = {"item_knn": 1 / rank, "dense": None if missing else 0.8 - rank / 20, "rrf": 2 / (60 + rank)}
            sources = {"item_knn": rank, **({} if missing else {"dense": 9 - rank % 9})}
            first.append(candidate(one, rank, None, columns, sources, kept=rank <= 6))
        for rank, one in enumerate(ids[:6][::-1], 1):
            dropped = "seen" if rank == 2 else None
            second.append(candidate(one, rank, 7 - rank, {"cross_encoder": 3.2 - rank}, {}, dropped, dropped is None))
        return views.Traced(
            asked.alias,
            BUNDLE,
            (
                views.StageView("retrieve", len(ids), 6, ("item_knn", "dense", "rrf"), tuple(first)),
                views.StageView("rerank", 6, 5, ("cross_encoder",), tuple(second)),
            ),
            self._listed(ids[:5]),
            (ids[4],),
            4,
            tuple(self._history(asked)),
        )

    async def feedback(self, impression_id, item_id, kind, *, event_id=None, idempotency_key=None, caller=""):
        if impression_id not in self.lists:
            raise NotFound("there is no such list")
        user, ids = self.lists[impression_id]
        if item_id not in ids:
            raise Unprocessable("the item was not in the list")
        if kind == "dismiss":
            self.dismissed.setdefault(user, []).append(item_id)
        elif kind == "restore":
            self.dismissed[user].remove(item_id)
        else:
            self.likes.setdefault(user, []).append(item_id)
        return Added(("e",), (False,), 1)

    async def put_items(self, items, *, replace):
        for item in items:
            unknown = set(item.fields) - {"title", "genre", "year", "plot"}
            if unknown:
                raise Unprocessable(f"the catalog has no field {sorted(unknown)[0]!r}")
            old = self.items_now.get(item.id)
            empty = dict.fromkeys(("title", "genre", "year", "plot"))
            fields = {**(empty if old is None else old.fields), **item.fields}
            self.items_now[item.id] = views.ItemView(item.id, fields, "active", trained=old is not None)
        return len(items)

    async def remove_items(self, item_ids):
        for one in item_ids:
            self.items_now[one] = replace(await self.item(one), state="removed")
        return len(item_ids)

    async def item(self, item_id, alias="default"):
        if item_id not in self.items_now:
            raise NotFound("there is no such item")
        view = self.items_now[item_id]
        return replace(view, texts={"dense": f"{view.fields['title']}. {view.fields['genre']}"})

    async def items(self, cursor=None, limit=50, find=None, alias="default"):
        found = [
            view
            for view in self.items_now.values()
            if not find or find.lower() in " ".join([view.item_id, *map(str, view.fields.values())]).lower()
        ]
        start = int(cursor or 0)
        limit = min(limit, 8)
        return views.Page(
            tuple(found[start : start + limit]), str(start + limit) if start + limit < len(found) else None
        )

    async def user(self, user_id):
        history = self._history(Asked(user_id=user_id))
        return views.UserView(user_id, bool(history), tuple(history), {}, (), tuple(self.dismissed.get(user_id, ())))

    async def deployments(self, alias=None):
        return [Deployment(1, "default", "/nowhere", BUNDLE, time.time() - 7200, "start")]

    async def job(self, job_id):
        if job_id not in self.store.work:
            raise NotFound("there is no such job")
        return self.store.work[job_id]

    async def jobs(self, kind=None, limit=50):
        return list(self.store.work.values())[::-1]

    async def list_experiments(self):
        return [SimpleExperiment]

    async def report_experiment(self, name):
        return {
            "verdict": "no difference yet",
            "rate": 0.123456,
            "variants": {
                "control": {"users": 40, "clicks": 12, "interval": [0.2, 0.4]},
                "new": {"users": 38, "clicks": 15, "interval": [0.25, 0.5]},
            },
            "shares": {"control": 0.51, "new": 0.49},
        }

    async def status(self):
        now = time.time()
        days = []
        for back in range(14):
            for alias, step in (("default", 7), ("challenger", 5))[: 2 if back < 10 else 1]:
                shown, clicked = 200 - 9 * back, 40 + (back * step) % 23
                days.append(views.DayCounts(f"2026-03-{20 - back:02}", alias, BUNDLE, shown, clicked, 12, 3, 2))
        steps, rules, fitted = ("retrieve", "rerank"), ("seen", "diversity"), now - 270_000
        aliases = tuple(
            views.AliasView(name, BUNDLE, 3, now - 3_600, fitted, 12, 6, steps, rules)
            for name in ("default", "challenger")
        )
        latency = {"p50": 8.2, "p95": 31.0, "p99": 77.5}
        engine = views.EngineView(
            3, 2, 256, self.answered, 4, 1, 2, 0, latency, {"retrieve": 4.1, "rerank": 12.7, "policies": 0.4}
        )
        drift = (
            views.DriftView(
                "history length", {"0": 0.1, "1-5": 0.5, "6+": 0.4}, {"0": 0.12, "1-5": 0.5, "6+": 0.38}, 0.02
            ),
            views.DriftView("wishes", {"with": 0.1, "without": 0.9}, {"with": 0.4, "without": 0.6}, 0.31),
        )
        return views.Status(
            views.Readiness(ok=True),
            now - 86_400,
            aliases,
            engine,
            17,
            True,
            5_231,
            tuple(days),
            {"default": 0.74, "challenger": 0.5},
            drift,
        )


SimpleExperiment = SimpleNamespace(name="spring")


def make_app(service):
    from fastapi import FastAPI

    from llmrec.serve.page import mount, router

    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def guarded(request, call_next):
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    app.include_router(router(service, service.judge))
    mount(app, service)
    return app


@pytest.fixture(scope="session")
def the_service(tmp_path_factory):
    return FakeService(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def service(the_service):
    the_service.reset()
    return the_service


@pytest.fixture(scope="session")
def app(the_service):
    return make_app(the_service)


@pytest.fixture
def client(app, service):
    from starlette.testclient import TestClient

    return TestClient(app, base_url="http://127.0.0.1")
