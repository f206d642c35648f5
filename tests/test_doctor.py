"""What the doctor makes of facts, and that nothing that is broken breaks it."""

import json
import tempfile

import pytest

from jax_avemo import cli, doctor, findings

REQUIREMENTS = (
    "jax>=0.10",
    "array-record>=0.8; sys_platform == 'nowhere'",
    'uvicorn>=0.30; extra == "web"',
    'pyworld-prebuilt>=0.3.5; extra == "demo"',
)


def by_topic(findings):
    return {finding.topic: finding for finding in findings}


def test_two_opencv_wheels_are_bad_and_the_remedy_removes_both():
    both = {"opencv-python": "5.0", "opencv-python-headless": "5.0", "numpy": "2.4"}
    finding = findings.opencv_wheels(both)
    assert finding.status == "bad"
    assert "pip uninstall -y opencv-python opencv-python-headless" in finding.remedy
    assert "pip install 'opencv-python-headless>=5'" in finding.remedy


@pytest.mark.parametrize(
    ("wheel", "status"),
    [("opencv-python-headless", "ok"), ("opencv-python", "note"), ("numpy", "note")],
)
def test_one_opencv_wheel_is_no_trouble(wheel, status):
    assert findings.opencv_wheels({wheel: "5.0"}).status == status


def test_a_missing_codec_says_which_files_it_locks_out():
    wanted = {"h264": "mp4", "vp9": "webm"}
    assert findings.missing_codecs(["h264", "vp9"], wanted, "decoder").status == "ok"
    webm = findings.missing_codecs(["h264"], wanted, "decoder")
    assert webm.status == "note"
    assert "vp9 (webm)" in webm.says
    assert findings.missing_codecs(["vp9"], wanted, "decoder").status == "bad"


def test_a_missing_package_is_bad_and_a_missing_extra_is_not():
    found = by_topic(findings.requirement_findings(REQUIREMENTS, {"uvicorn": "0.20"}))
    assert found["packages"].status == "bad"
    assert "jax>=0.10 (absent)" in found["packages"].says
    assert "array-record" not in found["packages"].says
    web = found["extra web"]
    assert web.status == "note"
    assert "uvicorn>=0.30 (is 0.20)" in web.says
    assert "avemo serve" in web.says
    assert web.remedy == "pip install 'jax_avemo[web]'"


def test_names_are_compared_as_the_index_does():
    found = by_topic(
        findings.requirement_findings(("Ml_Collections>=1",), {"ml-collections": "1.1"})
    )
    assert found["packages"].status == "ok"


def test_an_unused_accelerator_is_bad():
    cpu = [{"kind": "cpu", "platform": "cpu"}]
    gpu = [{"kind": "NVIDIA H100", "platform": "gpu"}] * 2
    assert findings.device_finding(cpu, accelerator_expected=False).status == "ok"
    assert findings.device_finding(cpu, accelerator_expected=True).status == "bad"
    assert "2 x NVIDIA H100" in findings.device_finding(gpu, accelerator_expected=True).says


def test_a_check_that_breaks_is_a_finding(monkeypatch):
    def broken():
        raise OSError("libGL.so.1: cannot open shared object file\nand more")

    monkeypatch.setattr(doctor, "_CHECKS", {"faces": broken})
    (finding,) = doctor.examine()
    assert finding.status == "bad"
    assert finding.says == "OSError: libGL.so.1: cannot open shared object file"


def test_a_folder_that_cannot_be_written_is_bad(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = by_topic(doctor._folders())
    assert found["cache"].status == "note"  # the work goes on without
    assert "XDG_CACHE_HOME" in found["cache"].remedy
    assert found["temporary"].status == "ok"
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "file"))
    assert by_topic(doctor._folders())["temporary"].status == "bad"


def test_the_command_works_here_and_speaks_json(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    topics = {finding["topic"] for finding in told["findings"]}
    assert {"system", "opencv", "codecs", "sandbox", "devices", "cache"} <= topics


def test_the_command_fails_where_something_will_not_work(monkeypatch, capsys):
    bad = findings.Finding("opencv", "bad", "two wheels", "remove one")
    monkeypatch.setattr(doctor, "_CHECKS", {"opencv": lambda: [bad]})
    assert cli.main(["doctor"]) == 1
    printed = capsys.readouterr()
    assert "bad  opencv  two wheels" in printed.out
    assert "-> remove one" in printed.out
    assert "1 of these will not work" in printed.out
