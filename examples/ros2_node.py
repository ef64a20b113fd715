"""ROS 2 node: camera images in, the driver's state as JSON out.

    ros2 run image_tools cam2image &
    python examples/ros2_node.py --ros-args -p bundle:=driver.fer -r image:=/camera/image_raw

It subscribes to ``image`` (sensor_msgs/Image) and publishes ``driver_state`` (std_msgs/String).
The node itself, ``main``, was never run: rclpy does not install from PyPI. Everything else in this
file is tested without ROS.
"""

import contextlib
import json
import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from fer_edge import InputError
from fer_edge.monitor import DriverMonitor, Frame, MonitorState

CHANNELS = {"bgr8": 3, "rgb8": 3, "mono8": 1}
"""Channels of the accepted encodings (sensor_msgs/image_encodings.hpp)."""


def image_of(message: Any) -> np.ndarray:
    """Return a sensor_msgs/Image as uint8 ``[H, W, 3]`` BGR, or ``[H, W]`` grey.

    Raises InputError for another encoding, or for data that do not fit the stated size.
    """
    channels = CHANNELS.get(message.encoding)
    if channels is None:
        raise InputError(f"expected one of {', '.join(CHANNELS)}, got {message.encoding!r}")
    row = message.width * channels
    data = np.frombuffer(message.data, np.uint8)
    if message.step < row or len(data) != message.height * message.step:
        raise InputError(f"expected {message.height} rows of {message.step} bytes, got {len(data)}")
    pixels = data.reshape(message.height, message.step)[:, :row]  # without padding
    if channels == 1:
        return np.ascontiguousarray(pixels)
    pixels = pixels.reshape(message.height, message.width, 3)
    return np.ascontiguousarray(pixels[:, :, ::-1] if message.encoding == "rgb8" else pixels)


class Topic:
    """Source of a DriverMonitor that other threads fill. Only the newest image is kept."""

    live = True

    def __init__(self, patience_s: float = 0.5) -> None:
        self._newest: queue.Queue[Frame | None] = queue.Queue(maxsize=1)
        self._patience_s = patience_s

    def put(self, message: Any) -> None:
        """Take a sensor_msgs/Image, from any thread."""
        stamp = message.header.stamp
        self._replace(Frame(image_of(message), stamp.sec + stamp.nanosec / 1e9))

    def open(self) -> None:
        """Forget what came before."""
        self._drain()

    def read(self) -> Frame | None:
        """Return the next image; None after ``patience_s``, which health reports."""
        try:
            return self._newest.get(timeout=self._patience_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Wake ``read``."""
        self._replace(None)

    def _drain(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._newest.get_nowait()

    def _replace(self, frame: Frame | None) -> None:
        self._drain()
        with contextlib.suppress(queue.Full):  # another thread was faster: its image is as new
            self._newest.put_nowait(frame)


def text_of(state: MonitorState) -> str:
    """Return what is published for a state: health, the driver, and events."""
    return json.dumps(
        {
            "time_s": state.time_s,
            "health": state.health.as_dict(),
            "driver": state.driver.as_dict() if state.driver else None,
            "events": [event.as_dict() for event in state.events],
        }
    )


def watch(monitor: DriverMonitor, publish: Callable[[str], object]) -> None:
    """Publish each state until the monitor is closed."""
    for state in monitor:
        publish(text_of(state))


def main() -> None:
    import rclpy
    from rclpy.node import Node
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image
    from std_msgs.msg import String

    rclpy.init()
    node = Node("fer_edge")
    bundle = node.declare_parameter("bundle", "").value or None
    detector = node.declare_parameter("detector", "").value or None
    topic, publisher = Topic(), node.create_publisher(String, "driver_state", 10)

    def on_image(message: Any) -> None:
        try:
            topic.put(message)
        except InputError as error:
            node.get_logger().error(str(error), throttle_duration_sec=5.0)

    node.create_subscription(Image, "image", on_image, qos_profile_sensor_data)
    with DriverMonitor(bundle, topic, detector=detector) as monitor:
        worker = threading.Thread(
            target=watch, args=(monitor, lambda text: publisher.publish(String(data=text)))
        )
        worker.start()
        try:
            rclpy.spin(node)
        finally:
            monitor.close()
            worker.join(2)
    rclpy.shutdown()


if __name__ == "__main__":
    main()
