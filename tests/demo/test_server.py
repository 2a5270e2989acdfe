"""What is served, asked by requests that come from no page of ours."""

import json
import urllib.request

import pytest

from tests.demo.made import picture
from uit_jax import demo
from uit_jax.demo import server

pytestmark = pytest.mark.skipif(bool(demo.missing()), reason="gradio is not installed")


@pytest.mark.parametrize(
    "host, expected",
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("box.lan", False)],
)
def test_addresses_of_this_machine_alone_are_known(host, expected):
    assert server.is_loopback(host) is expected


def test_a_request_reaches_no_file_but_what_was_uploaded_and_no_other_host(address, tmp_path):
    """Whatever it says of where an image lies: a request need not come from the page."""
    base = f"{address}/gradio_api"
    with urllib.request.urlopen(f"{address}/config") as config:
        numbers = {each["api_name"]: each["id"] for each in json.load(config)["dependencies"]}
    secret = picture(tmp_path / "secret.png", 7)

    def asked(content):
        session = f"session{len(str(content))}"
        data = [content, "random", None, None, 0, 0, 0, 5, None]
        body = json.dumps({"data": data, "fn_index": numbers["draw"], "session_hash": session}).encode()
        join = urllib.request.Request(f"{base}/queue/join", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(join).close()
        with urllib.request.urlopen(f"{base}/queue/data?session_hash={session}", timeout=30) as stream:
            told = (json.loads(line[5:]) for line in stream if line.startswith(b"data:"))
            return next(each for each in told if each["msg"] == "process_completed")

    kind = {"meta": {"_type": "gradio.FileData"}}
    for content in ({"path": str(secret)}, {"path": f"{address}/favicon.ico"}, {"path": "../secret.png"}):
        assert not asked(content | kind)["success"], content
    # Gradio asks where a file lies only of what says that it is one.
    (image, told, _) = asked({"path": str(secret)})["output"]["data"]
    assert image is None and "of other files nothing is told" in told
    (image, told, _) = asked(None)["output"]["data"]
    assert image is None and "Hand in an image to translate first." in told
