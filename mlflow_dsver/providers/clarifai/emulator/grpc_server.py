"""The emulator over gRPC, for the vendor's own clients: every call becomes the request that REST has for it.

The published definitions say which address, method and body stands for each call (`google.api.http`), and how
messages are written as JSON; so nothing here knows a call by its name. Channels are insecure and on loopback only. As
the service does it, refusals are answers with a status inside, and the key is in the metadata `authorization`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from mlflow_dsver.emulators.serving import HOST, Request
from mlflow_dsver.errors import SettingsError, Unsupported

if TYPE_CHECKING:
    from mlflow_dsver.providers.clarifai.emulator import ClarifaiEmulator

try:
    import grpc  # type: ignore[import-untyped]
    from clarifai_grpc.grpc.api import service_pb2
    from google.api import annotations_pb2  # type: ignore[import-untyped]
    from google.protobuf import json_format, message_factory
except ImportError as error:
    raise Unsupported(
        "gRPC needs Clarifai's message definitions",
        provider="clarifai",
        operation="serve gRPC",
        tip='pip install "mlflow-dsver[clarifai]"',
    ) from error

SERVICE = service_pb2.DESCRIPTOR.services_by_name["V2"]
THREADS = 8
MAX_MESSAGE = 64 << 20
NO_ANSWER = ("hang", "drip-headers", "cut", "cut-unsaid", "reset", "lost")
"""Faults after which there is no whole answer: UNAVAILABLE to a client of gRPC."""
_FIELD = re.compile(r"\{([a-z_.]+)\}")


class GrpcFace(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Serves an emulator over gRPC from the making on until `stop`. port: where it does, after a free one was taken.

    Raises SettingsError when the port cannot be used.
    """

    def __init__(self, emulator: ClarifaiEmulator, port: int) -> None:
        self._emulator = emulator
        sizes = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)]
        self._server = grpc.server(
            ThreadPoolExecutor(THREADS, thread_name_prefix="clarifai-grpc"),
            handlers=(self,),
            options=[*sizes, ("grpc.so_reuseport", 0)],
        )
        try:
            self.port: int = self._server.add_insecure_port(f"{HOST}:{port}")
        except RuntimeError as error:
            raise SettingsError(f"port {port} cannot be used for gRPC", tip="another --grpc-port") from error
        self._server.start()

    def stop(self) -> None:
        """Stop serving; calls that run are cut."""
        self._server.stop(None).wait()

    def service(self, call: Any) -> Any:
        """What carries out a call; None for one that no definition has."""
        package, _, name = call.method.strip("/").rpartition("/")
        method = SERVICE.methods_by_name.get(name)
        if package != SERVICE.full_name or method is None or method.server_streaming or method.client_streaming:
            return None
        if not method.GetOptions().HasExtension(annotations_pb2.http):
            return None
        request = message_factory.GetMessageClass(method.input_type)
        return grpc.unary_unary_rpc_method_handler(
            self._carrying_out(method),
            request_deserializer=request.FromString,
            response_serializer=lambda respond: respond.SerializeToString(),
        )

    def _carrying_out(self, method: Any) -> Callable[[Any, Any], Any]:
        answer_type = message_factory.GetMessageClass(method.output_type)

        def carry_out(message: Any, context: Any) -> Any:
            metadata = {str(name).lower(): value for name, value in context.invocation_metadata()}
            reply, fault = self._emulator.take(request_of(method, message, metadata))
            if fault is not None and fault.seconds:
                self._emulator.stopping.wait(fault.seconds)
            if not isinstance(reply.body, dict) or (fault is not None and fault.kind in NO_ANSWER):
                context.abort(grpc.StatusCode.UNAVAILABLE, f"HTTP {reply.status}")
            try:
                return json_format.ParseDict(reply.body, answer_type(), ignore_unknown_fields=True)
            except json_format.ParseError as error:
                context.abort(grpc.StatusCode.INTERNAL, f"no answer of that kind: {error}")

        return carry_out


def request_of(method: Any, message: Any, metadata: Mapping[str, str]) -> Request:
    """The REST request that stands for a call, by the first form of its address whose fields are all set."""
    fields = json_format.MessageToDict(message, preserving_proto_field_name=True)
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    path: tuple[str, ...] | None = None
    for form in (rule, *rule.additional_bindings):
        verb = form.WhichOneof("pattern")
        template = getattr(form, verb)
        path, used = _filled(template, fields)
        if path is not None:
            break
    query = {} if form.body else _query({key: value for key, value in fields.items() if key not in used})
    return Request(
        verb=verb.upper(),
        path=path if path is not None else tuple(template.strip("/").split("/")),
        query=query,
        headers={name: value for name, value in metadata.items() if name != "authorization"},
        body=json_format.MessageToJson(message, preserving_proto_field_name=True).encode() if form.body else b"",
        authorization=metadata.get("authorization"),
    )


def _filled(template: str, fields: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, set[str]]:
    """The segments of an address with the fields put in, None when one of them is not set; and which were used."""
    segments = []
    used = {"user_app_id"}
    for segment in template.strip("/").split("/"):
        found = _FIELD.fullmatch(segment)
        if not found:
            segments.append(segment)
            continue
        value: Any = fields
        for name in found[1].split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if not value:
            return None, used
        segments.append(str(value))
        used.add(found[1].partition(".")[0])
    return tuple(segments), used


def _query(fields: Mapping[str, Any]) -> dict[str, list[str]]:
    """Fields of a message as a query has them; those that are messages themselves are left out."""
    found = {}
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        if not any(isinstance(each, dict) for each in values):
            found[name] = [str(each).lower() if isinstance(each, bool) else str(each) for each in values]
    return found
