# SPDX-License-Identifier: Apache-2.0
"""Golden file of TensorBoard's events, as TensorBoard's own RecordWriter and protobuf messages write them.

    python tests/golden/make_events.py

Versions: tests/peers/report.txt. The files land in tests/golden/report: `events` is a run from its start, `events-resumed` one that goes on after step 2.
"""

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.record_writer import RecordWriter

HERE = Path(__file__).parent / "report"


def scalar(tag, value, step, time):
    return Event(wall_time=time, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))


def text(tag, what, step, time):
    """As torch.utils.tensorboard.summary.text has it."""
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype="DT_STRING", string_val=[what.encode()], tensor_shape=shape)
    return Event(wall_time=time, step=step, summary=Summary(value=[Summary.Value(tag=tag + "/text_summary", metadata=metadata, tensor=tensor)]))


def write(name, events):
    with open(HERE / name, "wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())
        writer.flush()


begin = Event(wall_time=1700000000.25, file_version="brain.Event:2")
write("events", [
    begin,
    text("args", '    {"β": 0.1}', 0, 1700000000.5),
    scalar("train/loss", 0.6931471805599453, 1, 1700000001.0),
    scalar("train/num_tokens", 123456789.0, 1, 1700000001.0),
    scalar("eval/rewards/accuracies", 0.0, 300, 1700000002.0),
    scalar("train/grad_norm", float("inf"), 2**40, 1700000003.125),
])
write("events-resumed", [begin, Event(wall_time=1700000000.25, step=3, session_log=SessionLog(status=SessionLog.START)), scalar("train/loss", -1.5, 3, 1700000004.0)])
