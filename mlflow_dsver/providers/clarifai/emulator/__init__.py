"""An emulator of Clarifai's API v2 for datasets and their versions, with a data host for exports.

It follows the published protocol and documents: both forms of addresses, a status in every response, numbered pages
without a total, enumerations as numbers, 64-bit integers as strings, unset fields left out, and the bodies of the
documents of 2021. What the documents leave open is a switch; the texts of descriptions are the emulator's own. Inputs
are stored as sent, and every image is one pixel. The vendor's own clients are served over gRPC (`grpc_server`). The
emulator was not compared with the live service.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from mlflow_dsver.emulators.serving import HOST, Emulator, Option, Reply, Request
from mlflow_dsver.providers.clarifai.emulator.responses import (
    LISTS,
    OK,
    SWITCHES,
    Refused,
    find_record,
    picture,
    status,
    storage_address,
)
from mlflow_dsver.providers.clarifai.emulator.routes import Call
from mlflow_dsver.providers.clarifai.emulator.state import Record, State, export_bytes
from mlflow_dsver.providers.clarifai.models import Format, Origin

if TYPE_CHECKING:
    from mlflow_dsver.providers.clarifai.emulator.grpc_server import GrpcFace

USER, APP = "demo-user", "demo-app"
TOKEN = "any-token-will-do"  # noqa: S105 (no account has it)
"""A personal access token for clients; the emulator accepts any unless `key` is set."""
HTTP_OF = {200: 10000, 401: 11009, 403: 11007, 404: 11101, 405: 11103, 429: 11005}


class ClarifaiEmulator(Emulator):
    """The emulator; its base address is `address`. See `Emulator` for the other arguments.

    key: the only valid personal access token; None accepts any. app_key: the only valid app key, for `user` and
    `app`; None accepts any that does not begin with `pat`. user, app: what `me` and the short path stand for.
    archive: bytes to serve instead of every export. seed: fill an empty state with two datasets and three versions.
    grpc_port: also serve gRPC on this port, 0 for a free one; needs `pip install "mlflow-dsver[clarifai]"`.
    """

    name: ClassVar[str] = "clarifai"
    SWITCHES = SWITCHES
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "grpc-port": Option("Serve gRPC as well, there; 0: a free port. For their SDK.", (0, 65535))
    }

    def __init__(
        self,
        *,
        app_key: str | None = None,
        user: str = USER,
        app: str = APP,
        archive: bytes | None = None,
        seed: bool = False,
        grpc_port: int | None = None,
        **options: Any,
    ) -> None:
        self._grpc_port = grpc_port
        self._grpc: GrpcFace | None = None
        self.state = State()
        self.app_key, self.user, self.app, self.archive = app_key, user, app, archive
        self.downloads = 0
        super().__init__(**options)
        self._home()
        if seed and not self._home()["datasets"]:
            self.seed()

    # For tests, notebooks and demos

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variables that point a client here."""
        return {
            "CLARIFAI_API_BASE": self.address,
            "CLARIFAI_PAT": self.good_key or TOKEN,
            "CLARIFAI_USER_ID": self.user,
            "CLARIFAI_APP_ID": self.app,
        }

    def add_app(self, app: str, user: str | None = None) -> None:
        """Add an app, of the same user by default; requests for an app that was not added fail."""
        with self.lock:
            self.state.app(user or self.user, app)

    def add_dataset(self, dataset: str) -> None:
        """Add a dataset to the app without a request."""
        with self.lock:
            self.state.new_dataset(self._home(), {"id": dataset})

    def add_inputs(self, dataset: str, inputs: Iterable[Mapping[str, Any]]) -> None:
        """Add inputs to a dataset: objects with `id` and `data`, as in the API."""
        with self.lock:
            self._home()["datasets"][dataset]["inputs"] += [dict(each) for each in inputs]

    def add_version(
        self,
        dataset: str,
        *,
        origin: Origin = Origin.MANUAL,
        ready: bool = True,
        outcome: str | None = None,
        **body: Any,
    ) -> str:
        """Add a version of the dataset's current content without a request; return its id.

        ready: the version is ready at once, whatever the switches say. outcome: its status instead, a setting of the
        switch `outcome`, also at once.
        """
        with self.lock:
            record = self.state.new_version(self._home()["datasets"][dataset], body, origin)
            if ready or outcome is not None:
                record.update(outcome=outcome or "ready", made=True)
            return str(record["id"])

    def seed(self) -> None:
        """Add two datasets and three versions: one with a tag, one that training created."""
        for dataset, concepts in (("cats", ("tabby", "siamese")), ("digits", ("7", "1"))):
            self.add_dataset(dataset)
            self.add_inputs(dataset, demo_inputs(dataset, concepts))
        self.add_version("cats", id="v1", description="first labels", metadata={"tags": ["clean"]})
        self.add_inputs("cats", demo_inputs("more-cats", ("tabby", "sphynx")))
        self.add_version("cats", id="v2", description="more cats", metadata={"by": "labelling round 2"})
        self.add_version("cats", id="auto-generated-1", origin=Origin.TRAINING)

    def snapshot(self) -> dict[str, Any]:
        """The whole state as JSON."""
        return self.state.records

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.state = State(dict(state))

    def error_reply(self, status: int) -> Reply:
        """The vendor's error body for a fault; 200 is an error body with the status of a success."""
        code = 99009 if status == 200 or status >= 500 else HTTP_OF.get(status, 11102)
        return Reply(
            status, {"status": {"code": code, "description": f"HTTP {status}", "req_id": secrets.token_hex(16)}}
        )

    def start(self) -> Self:
        """Serve in threads, also over gRPC if requested."""
        super().start()
        if self._grpc_port is not None:
            from mlflow_dsver.providers.clarifai.emulator.grpc_server import GrpcFace

            try:
                self._grpc = GrpcFace(self, self._grpc_port)
            except BaseException:
                super().stop()
                raise
        return self

    def stop(self) -> None:
        """Stop serving."""
        if self._grpc is not None:
            self._grpc.stop()
            self._grpc = None
        super().stop()

    @property
    def grpc_address(self) -> str | None:
        """`http://127.0.0.1:PORT` of the gRPC server, the `base` of the vendor's own client library.

        None if gRPC is not served.
        """
        return None if self._grpc is None else f"http://{HOST}:{self._grpc.port}"

    @property
    def notes(self) -> tuple[str, ...]:
        """The address of the gRPC server, if there is one."""
        address = self.grpc_address
        return (f"gRPC on {address}: the base of Clarifai's own client.",) if address else ()

    # Requests

    def answer(self, request: Request) -> Reply:
        """The response to a request; its body has a status, whatever the HTTP status is."""
        if request.path[0] in ("data", "signed"):
            return self._data(request)
        items: list[Record] | None = None
        http, code, details, extra = 200, OK, None, {}
        headers: Mapping[str, str] = {}
        rest: tuple[str, ...] = request.path
        try:
            app, rest = self._app(request)
            extra = Call(self.state, app, request, self.switches, self.address).dispatch(rest)
        except Refused as refused:
            http, code, details, items = refused.http, refused.code, str(refused), refused.items
            headers = refused.headers
        key = "inputs" if request.path[-1] == "inputs" and "datasets" not in rest else LISTS.get(request.path[-1])
        if code != OK and key:
            extra = {key: items}
        api_status = status(code, extra.pop("details", details), self.switches)
        return Reply(http, {"status": api_status, **extra}, headers=headers)

    def _app(self, request: Request) -> tuple[Record, tuple[str, ...]]:
        """The app that a request names, if its key may access it, and the rest of the path."""
        key = request.key("Key")
        if key is None:
            raise Refused(
                400, 11102, "Empty or malformed authorization header. Please provide an API key or session token."
            )
        match request.path:
            case ("v2", "users", user, "apps", app, *rest):
                user = self.user if user == "me" else user
                is_default_app = (user, app) == (self.user, self.app)
                if self.app_key is not None and key == self.app_key:
                    if not is_default_app or self.switches["key-on-long-path"] == "refuse":
                        raise Refused(401, 11008, "the key belongs to another app")
                elif self.good_key not in (None, key):
                    raise Refused(401, 11009, "invalid key")
                return find_record(self.state.records["apps"], f"{user}/{app}", "app_id", shown=app), tuple(rest)
            case ("v2", *rest):
                if key in (self.good_key or TOKEN,) or (self.app_key is None and key.lower().startswith("pat")):
                    raise Refused(401, 11008, "Must provide app external ID in API authorizer")
                if self.app_key not in (None, key):
                    raise Refused(401, 11009, "invalid key")
                return self._home(), tuple(rest)
        raise Refused(404, 11101, "Check the url of your request.")

    def _home(self) -> Record:
        return self.state.app(self.user, self.app)

    def _data(self, request: Request) -> Reply:
        """The data host (404 without a key, 401 for an invalid one), or storage that rejects any key."""
        path, token = request.path[0], request.path[-1]
        key = request.key("Key")
        if path == "signed" and request.authorization is not None:
            return Reply(400, b"<Error><Code>InvalidArgument</Code></Error>", "application/xml")
        if path == "data" and key is None:
            return Reply(404, b"not found", "text/plain")
        if path == "data" and self.good_key is not None and key not in (self.good_key, self.app_key):
            return Reply(401, status(11009, "invalid key", self.switches))
        if path == "data" and self.switches["export-host"] == "redirect":
            return Reply(302, b"", "text/plain", {"Location": f"{storage_address(self.address)}/{token}"})
        if request.path[:2] == ("data", "media"):
            return self._picture(token)
        for app in self.state.records["apps"].values():
            for dataset in app["datasets"].values():
                for record in dataset["versions"].values():
                    for name, export in record["exports"].items():
                        if export["token"] == token:
                            return self._archive(record, Format(name))
        return Reply(404, b"not found", "text/plain")

    def _picture(self, input_id: str) -> Reply:
        """The image of an input of any dataset or version."""
        for app in self.state.records["apps"].values():
            for dataset in app["datasets"].values():
                for owner in (dataset, *dataset["versions"].values()):
                    if any(each["id"] == input_id for each in owner["inputs"]):
                        return Reply(200, picture(input_id), "image/png")
        return Reply(404, b"not found", "text/plain")

    def _archive(self, record: Record, format_: Format) -> Reply:
        self.downloads += 1
        served = self.downloads if self.switches["export-again"] == "differs" else 0
        content = self.archive if self.archive is not None else export_bytes(record, format_, served)
        return Reply(200, content, "application/zip")


def demo_inputs(prefix: str, concepts: Iterable[str]) -> list[Record]:
    """An input for each concept, with the address of an image that does not exist."""
    return [
        {
            "id": f"{prefix}-{concept}",
            "data": {
                "image": {"url": f"https://samples.invalid/{prefix}/{concept}.jpg"},
                "concepts": [{"id": concept, "value": 1}],
            },
        }
        for concept in concepts
    ]
