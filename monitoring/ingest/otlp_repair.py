"""Requests whose texts are not UTF-8. Protobuf's own reader refuses such a request whole; some senders write them."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

REQUEST = logs_service_pb2.ExportLogsServiceRequest.DESCRIPTOR.full_name
_Field = descriptor_pb2.FieldDescriptorProto


def repaired(body: bytes) -> bytes | None:
    """The same ExportLogsServiceRequest with what is no UTF-8 replaced; None when it is none for other reasons."""
    request = _lenient()()
    try:
        request.ParseFromString(body)
    except DecodeError:
        return None
    _put_right(request)
    whole: bytes = request.SerializeToString()
    return whole


@cache
def _lenient() -> Any:
    """The request's class, with bytes where the texts are."""
    pool = descriptor_pool.DescriptorPool()
    _add(pool, logs_service_pb2.DESCRIPTOR, set())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(REQUEST))


def _add(pool: descriptor_pool.DescriptorPool, file: FileDescriptor, added: set[str]) -> None:
    if file.name in added:
        return
    added.add(file.name)
    for each in file.dependencies:
        _add(pool, each, added)
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    for message in proto.message_type:
        for field in message.field:
            if field.type == _Field.TYPE_STRING:
                field.type = _Field.TYPE_BYTES
    pool.Add(proto)


def _put_right(message: Message) -> None:
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for each in value if field.is_repeated else [value]:
                _put_right(each)
        elif field.type == FieldDescriptor.TYPE_BYTES and field.name not in {"trace_id", "span_id", "bytes_value"}:
            if field.is_repeated:
                value[:] = [_utf8(each) for each in value]
            else:
                setattr(message, field.name, _utf8(value))


def _utf8(text: bytes) -> bytes:
    return text.decode("utf-8", "replace").encode()
