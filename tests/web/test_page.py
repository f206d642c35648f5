"""The page end to end: a network behind a real server, in a headless browser with a webcam."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")
ROOT = Path(__file__).parent.parent.parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None or DRIVER is None, reason="needs chromium and chromedriver on the PATH"
    ),
]
pytest.importorskip("fastapi")
selenium = pytest.importorskip("selenium")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402
from support.local_server import Client  # noqa: E402
from support.media_files import face_takes, tone, write_media  # noqa: E402
from support.random_run import write_run  # noqa: E402

PATIENCE = 180


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run with random weights, a film of ten seconds, and a webcam that shows it."""
    home = tmp_path_factory.mktemp("page")
    write_run(home / "runs" / "tiny")
    pictures, heard = face_takes(120), tone(10.0, rate=16_000)
    write_media(home / "film.mp4", pictures, frames_per_second=12, sound=heard, rate=16_000)
    with (home / "webcam.y4m").open("wb") as file:
        file.write(b"YUV4MPEG2 W128 H128 F12:1 Ip A1:1 C420jpeg\n")
        for picture in pictures:
            file.write(b"FRAME\n" + cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).tobytes())
    with wave.open(str(home / "microphone.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.round(heard * 32767).astype("<i2").tobytes())
    return home


@pytest.fixture(scope="module")
def server(home):
    """The process of `avemo serve`, and a client of it."""
    (home / "temporary").mkdir()
    command = [sys.executable, "-m", "jax_avemo.cli", "serve", "--run", "runs/tiny", "--port", "0"]
    process = subprocess.Popen(
        command,
        cwd=home,
        env=os.environ | {"TMPDIR": str(home / "temporary")},
        stderr=subprocess.PIPE,
        text=True,
    )
    said = ""
    while (found := re.search(r"http://127\.0\.0\.1:(\d+)/", said)) is None:
        line = process.stderr.readline()
        assert line, said
        said += line
    assert "synthetic actors" in said
    yield process, Client(int(found.group(1)))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert "Traceback" not in process.stderr.read()
    assert not list((home / "temporary").iterdir())


@pytest.fixture(scope="module")
def browser(home):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "autoplay-policy=no-user-gesture-required",
        "use-fake-ui-for-media-stream",
        "use-fake-device-for-media-stream",
        f"use-file-for-fake-video-capture={home}/webcam.y4m",
        f"use-file-for-fake-audio-capture={home}/microphone.wav",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, server):
    show(browser, 1200, 900)
    browser.get(f"http://127.0.0.1:{server[1].port}/")
    wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "body[data-ready]"))
    yield browser
    trouble = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    # A refused request is told by the browser too; the page shows it.
    assert not [entry for entry in trouble if "status of" not in entry["message"]]
    asked = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    for address in browser.execute_script(asked):
        assert address.startswith(("http://127.0.0.1:", "blob:http://127.0.0.1:"))


def show(browser, width: int, height: int, scheme: str = "light", *, phone: bool = False) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def wait(browser, condition):
    return WebDriverWait(browser, PATIENCE, 0.1).until(lambda _: condition())


def text(browser, name: str) -> str:
    return browser.find_element(By.ID, name).text


def analyse(browser, path: Path) -> None:
    browser.find_element(By.ID, "file").send_keys(str(path))
    wait(browser, lambda: "complete" in text(browser, "status") or text(browser, "error"))


def seconds(browser) -> float:
    return browser.execute_script("return document.getElementById('video').currentTime")


def test_a_film_gets_a_timeline_that_seeks_and_follows(page, home):
    assert "synthetic actors" in text(page, "warning")
    analyse(page, home / "film.mp4")
    assert text(page, "error") == ""
    assert re.search(r"\d+ %", text(page, "top"))
    slider = page.find_element(By.ID, "slider")
    length = float(slider.get_attribute("aria-valuemax"))
    assert 8 < length < 25
    # The chart has every emotion's colour in it.
    colours = page.execute_script(
        "const c = document.getElementById('chart'), d = c.getContext('2d')"
        ".getImageData(c.width / 2, 0, 1, c.height).data;"
        "return new Set(Array.from({length: c.height}, (_, i) =>"
        " [d[4 * i], d[4 * i + 1], d[4 * i + 2]].join())).size"
    )
    assert colours >= 8
    # By mouse: a click at a quarter seeks there.
    ActionChains(page).move_to_element_with_offset(
        slider, -slider.size["width"] // 4, 0
    ).click().perform()
    wait(page, lambda: abs(seconds(page) - length / 4) < 0.5)
    # By keyboard.
    before = seconds(page)
    slider.send_keys(Keys.ARROW_RIGHT)
    wait(page, lambda: abs(seconds(page) - before - 1) < 0.1)
    slider.send_keys(Keys.END)
    wait(page, lambda: seconds(page) > length - 0.5)
    slider.send_keys(Keys.HOME)
    wait(page, lambda: seconds(page) == 0)
    assert slider.get_attribute("aria-valuetext").startswith("0:00.0, seems ")
    # Playback moves it.
    slider.send_keys(Keys.SPACE)
    wait(page, lambda: float(slider.get_attribute("aria-valuenow")) > 0.5)
    slider.send_keys(Keys.SPACE)
    # As a table, whose times seek too.
    page.find_element(By.CSS_SELECTOR, "summary").click()
    buttons = page.find_elements(By.CSS_SELECTOR, "#rows button")
    assert len(buttons) >= length - 4
    buttons[-1].click()
    wait(page, lambda: seconds(page) > length / 2)
    page.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(home)}
    )
    page.find_element(By.ID, "save-eaf").click()
    wait(page, lambda: (home / "film.mp4.eaf").exists())
    assert "film.mp4" in (home / "film.mp4.eaf").read_text()
    page.find_element(By.ID, "save-json").click()
    wait(page, lambda: (home / "film.mp4.json").exists())
    result = json.loads((home / "film.mp4.json").read_text())
    assert result["source"] == "film.mp4"
    assert result["model"]["synthetic"] is True


def test_the_example_has_a_timeline_lanes_audio_boxes_and_values_at_the_pointer(page):
    page.find_element(By.ID, "example").click()
    wait(page, lambda: "complete" in text(page, "status") or text(page, "error"))
    assert text(page, "status").startswith("example.mp4")
    wait(page, lambda: text(page, "lanes").endswith("audio"))  # the browser could decode it
    lanes = text(page, "lanes").split()
    assert lanes[:2] == ["likeliest", "neutral"]
    assert len(lanes) == 10
    wait(page, lambda: page.find_elements(By.CSS_SELECTOR, "#boxes .box"))
    slider = page.find_element(By.ID, "slider")
    ActionChains(page).move_to_element_with_offset(slider, 20, 0).perform()
    assert re.search(r"\d+ %", text(page, "tip"))


def test_a_still_picture_is_shown_with_its_face(page, home):
    cv2.imwrite(str(home / "face.png"), face_takes(1)[0][..., ::-1])
    analyse(page, home / "face.png")
    assert text(page, "error") == ""
    assert page.find_element(By.ID, "still").is_displayed()
    wait(page, lambda: page.find_elements(By.CSS_SELECTOR, "#boxes .box"))


def test_the_webcam_is_predicted_twice_a_second_with_its_delay(page):
    page.execute_script("performance.clearResourceTimings()")
    page.find_element(By.ID, "webcam").click()
    wait(page, lambda: "s behind" in text(page, "delay"))
    began = time.monotonic()
    count = (
        "return performance.getEntriesByType('resource')"
        ".filter(entry => entry.name.endsWith('/api/live')).length"
    )
    first = page.execute_script(count)
    wait(page, lambda: "face and audio" in text(page, "delay"))
    wait(page, lambda: page.execute_script(count) >= first + 8)
    print(f"8 estimates in {time.monotonic() - began:.1f} s; {text(page, 'delay')}")
    assert re.search(r"\d+ %", text(page, "top"))
    assert "smoothed" in text(page, "delay")
    wait(page, lambda: page.find_elements(By.CSS_SELECTOR, "#boxes .box"))
    assert page.find_element(By.ID, "webcam").get_attribute("aria-pressed") == "true"
    page.find_element(By.ID, "webcam").click()
    wait(page, lambda: text(page, "status") == "The webcam is off.")
    assert page.execute_script("return document.getElementById('video').srcObject") is None


def test_what_is_no_film_is_said_and_the_next_one_works(page, home):
    (home / "notes.mp4").write_bytes(b"no film" * 1000)
    analyse(page, home / "notes.mp4")
    error = page.find_element(By.ID, "error")
    assert error.text.startswith("notes.mp4: the file is ")
    assert not page.find_element(By.ID, "viewer").is_displayed()
    in_view = (
        "const edges = arguments[0].getBoundingClientRect();"
        "return edges.top >= 0 && edges.bottom <= innerHeight"
    )
    assert page.execute_script(in_view, error)
    analyse(page, home / "film.mp4")
    assert text(page, "error") == ""


def test_a_killed_decoder_leaves_the_server_up(server, home):
    process, client = server
    film = (home / "film.mp4").read_bytes()
    watch = subprocess.Popen(
        [sys.executable, "-c", KILLER, str(process.pid)], stdout=subprocess.PIPE, text=True
    )
    events = client.events(film)
    watch.terminate()
    killed = len(watch.communicate()[0].splitlines())
    assert killed >= 1
    told = json.dumps(events[-1])
    assert "crashed the decoder (SIGSEGV)" in told
    assert process.poll() is None
    assert client.events(film)[-1]["result"]["complete"] is True


KILLER = """
import os, signal, sys, time
from pathlib import Path

def has_the_film(process):
    # An upload is a file without a name. Before, the decoder starts: that is another error.
    return any(os.readlink(file).endswith("(deleted)") for file in (process / "fd").iterdir())

while True:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
            if parent == int(sys.argv[1]) and has_the_film(stat.parent):
                os.kill(int(stat.parent.name), signal.SIGSEGV)
                print(stat.parent.name, flush=True)
        except OSError:
            continue  # it has ended
    time.sleep(0.01)
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(page, home, scheme):
    show(page, 360, 740, scheme, phone=True)
    analyse(page, home / "film.mp4")
    wide, shown = page.execute_script(
        "return [document.scrollingElement.scrollWidth, window.innerWidth]"
    )
    assert wide <= shown
    for element in page.find_elements(By.CSS_SELECTOR, "button, .button, select"):
        if element.is_displayed() and not element.find_elements(By.XPATH, "ancestor::table"):
            assert element.size["height"] >= 40
    for selector in ("body", ".quiet", ".warning", ".button", ".button.primary", ".now .value"):
        assert page.execute_script(CONTRAST, selector) >= 4.5, selector


CONTRAST = """
const light = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const element = document.querySelector(arguments[0]);
let ground = element;
const behind = () => getComputedStyle(ground).backgroundColor;
while (/rgba\\(.*, 0\\)/.test(behind())) ground = ground.parentElement;
const pair = [getComputedStyle(element).color, behind()].map(light);
return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
"""


def test_everything_can_be_reached_and_has_a_name_without_a_mouse(page, home):
    analyse(page, home / "film.mp4")
    page.execute_script("document.activeElement.blur()")
    reached = []
    for _ in range(40):  # a browser's own buttons on the film are many
        ActionChains(page).send_keys(Keys.TAB).perform()
        focus = page.switch_to.active_element
        reached.append(focus.get_attribute("id") or focus.tag_name)
        if focus.tag_name != "body":
            assert focus.accessible_name, reached
    assert {"file", "example", "webcam", "slider", "save-json", "save-eaf"} <= set(reached)
    roles = {name: page.find_element(By.ID, name).aria_role for name in ("status", "slider")}
    assert roles == {"status": "status", "slider": "slider"}
