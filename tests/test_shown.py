"""Short texts of untrusted values and of errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fer_edge.shown import first_line, shown, without_password


@pytest.mark.parametrize("around", [lambda n: n, lambda n: [n], lambda n: {"a": (n, -n)}])
def test_a_number_that_python_does_not_print_is_shown(around: Callable[[int], object]) -> None:
    assert "an integer of more than 40 digits" in shown(around(10**5000))
    assert shown(around(7)) == repr(around(7))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no HTP", "no HTP"),
        ("\n\n no HTP\ntrace", "no HTP"),
        ("", "RuntimeError"),
        (" \n", "RuntimeError"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty(text: str, line: str) -> None:
    assert first_line(RuntimeError(text)) == line


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("rtsp://driver:secret@10.0.0.7:554/a", "rtsp://***@10.0.0.7:554/a"),
        ("rtsp://driver:p@ss@wd@10.0.0.7/a", "rtsp://***@10.0.0.7/a"),
        ("rtsp://driver:p?#@10.0.0.7", "rtsp://***@10.0.0.7"),
        ("zip://*.mp4::ftp://me:secret@host/a.zip", "zip://*.mp4::ftp://***@host/a.zip"),
        ("rtspsrc location=rtsp://a:b@c/d ! appsink", "rtspsrc location=rtsp://***@c/d ! appsink"),
        ("rtspsrc user-id=me user-pw=secret ! x", "rtspsrc user-id=me user-pw=*** ! x"),
        ("http://cam/a.cgi?user=me&pwd=secret&n=1", "http://cam/a.cgi?user=me&pwd=***&n=1"),
        ("http://cam/a?Password=secret", "http://cam/a?Password=***"),
        (
            "https://b.s3.amazonaws.com/a.mp4?X-Amz-Credential=AK%2Fx&X-Amz-Expires=9&X-Amz-Signature=f0",
            "https://b.s3.amazonaws.com/a.mp4?X-Amz-Credential=***&X-Amz-Expires=9&X-Amz-Signature=***",
        ),
        ("https://a.blob.core/c/a.mp4?sv=2&sig=a%3D", "https://a.blob.core/c/a.mp4?sv=2&sig=***"),
        ("https://h/a?access_token=x&api_key=y", "https://h/a?access_token=***&api_key=***"),
        ("https:/me:secret@host/a.jpg", "https:/***@host/a.jpg"),
        ("/data/scene_token=aaa/front.mp4", "/data/scene_token=aaa/front.mp4"),
        ("/data/design=3/a.mp4", "/data/design=3/a.mp4"),
        ("C:/me@home/a.mp4", "C:/me@home/a.mp4"),
        ("rtsp://10.0.0.7/stream@2", "rtsp://10.0.0.7/stream@2"),
        ("s3://bucket/me@home/a.mp4", "s3://bucket/me@home/a.mp4"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_a_password_is_not_shown(text: str, public: str) -> None:
    assert without_password(text) == public
    assert without_password(f"cannot read {text}: gone") == f"cannot read {public}: gone"
