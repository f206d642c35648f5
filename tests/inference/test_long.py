"""A long film neither slows down nor grows: two hours of a looping face."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest
from support.media_files import face_takes, tone, write_media

MINUTES = 120
_SCRIPT = """
import json, sys, time
from pathlib import Path
from jax_avemo import load

def memory(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024

def child():
    found = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    return int(" ".join(found).split()[0])

model = load(sys.argv[1])
model.warm_up()
seen, began = [], time.process_time()

def progress(done, total):
    if len(seen) < done // 60:
        seen.append((done, memory("self"), memory(child()), time.process_time() - began))

result = model.predict(sys.argv[2], progress=progress)
print(json.dumps({"seen": seen, "windows": len(result.windows), "end": result.duration}))
"""


@pytest.mark.slow
def test_memory_and_speed_stay_as_they_are(run, tmp_path):
    """Memory of both processes and CPU time for each minute, in the middle and at the end."""
    one = write_media(
        tmp_path / "one.mkv",
        face_takes(120),
        frames_per_second=4,
        sound=tone(30.0),
        video_codec="mjpeg",
        audio_codec="pcm_s16le",
    )
    film = tmp_path / "long.mkv"
    _loop(one, film, MINUTES * 2)
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    done = subprocess.run(
        [sys.executable, script, run, film], capture_output=True, text=True, timeout=3600
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["end"] == pytest.approx(MINUTES * 60, rel=0.01)
    assert told["windows"] >= MINUTES * 60 - 5
    seen = told["seen"]
    print(f"minute, MB here, MB in the decoder, CPU s: {seen}")
    assert len(seen) >= MINUTES - 1
    _, ours, theirs, _ = zip(*seen, strict=True)
    settled = 3
    assert max(ours[settled:]) < ours[settled] + 40
    assert None not in theirs[:-1]  # by the end the decoder may have left
    assert max(mb for mb in theirs[settled:] if mb) < theirs[settled] + 40
    half = len(seen) // 2
    first = seen[half][3] - seen[settled][3]
    second = seen[-1][3] - seen[half][3]
    assert second / (len(seen) - 1 - half) < 1.5 * first / (half - settled)


def _loop(source: Path, target: Path, times: int) -> None:
    """The film of 30 s `times` over, packets copied."""
    with av.open(str(target), "w") as out:
        streams: dict[int, Any] = {}
        for turn in range(times):
            with av.open(str(source)) as container:
                for stream in container.streams:
                    if stream.index not in streams:
                        streams[stream.index] = out.add_stream_from_template(stream)
                for packet in container.demux():
                    if packet.dts is None:
                        continue
                    shift = round(30 * turn / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
