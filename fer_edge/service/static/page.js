// The page: a picture or the webcam in, boxes, bars and the last minute out.

import { Live, info, predict, setToken } from "./client.js";
import { capital, drawBoxes, drawCards, linkBoxesAndCards, sentence, title, unpin } from "./faces.js";
import { History } from "./history.js";

const $ = (id) => document.getElementById(id);
const FRAME_PX = 640; // the longer side of a webcam frame as it is sent
const SAID_MS = 2000; // how long a button says what it did
const SAY_EVERY_MS = 3000; // a screen reader needs time to finish a sentence

const history = new History($("timeline"), $("latency"), $("rate"), $("sparkline"));
let labels = [];
let camera = null; // {stream, live, paused} while the webcam is in use
let starting = null; // while the webcam is being opened
let latestAnswer = null; // what "Copy JSON" copies
let latestPicture = 0; // the answer to an older picture is not shown over a newer one

async function start() {
  try {
    const about = await info();
    labels = about.labels;
    $("model").textContent = `${about.model} · ${about.variant}`;
    $("model").hidden = false;
    $("token-form").hidden = true;
    $("note").hidden = about.detector !== null;
    if (location.hash === "#webcam" && !camera) $("webcam").click(); // as fer-edge live opens it
  } catch (refused) {
    if (refused.status !== 401) return fail(refused.message);
    if (!$("token-form").hidden) fail("Wrong token. Try again.");
    $("token-form").hidden = false;
    $("token").focus();
  }
}

function fail(message) {
  $("error").textContent = message && capital(message);
}

function show(media, width, height) {
  $("empty").hidden = true;
  $("frame").hidden = false;
  for (const id of ["picture", "video"]) $(id).hidden = $(id) !== media;
  $("frame").classList.toggle("mirrored", media === $("video"));
  $("frame").style.maxWidth = `calc(64vh * ${width / height})`;
  $("boxes").replaceChildren();
}

function showNothing() {
  $("frame").hidden = true;
  $("empty").hidden = false;
  $("boxes").replaceChildren();
  latestAnswer = null;
  $("copy").hidden = true;
}

// A tracked person keeps a number; faces of a picture are numbered from left to right.
function numbered(faces) {
  return [...faces].sort((a, b) => (a.person ?? a.box[0]) - (b.person ?? b.box[0]))
    .map((face, index) => ({ ...face, number: face.person ?? index + 1 }));
}

function draw(answer, mirrored) {
  const faces = numbered(answer.faces);
  drawBoxes($("boxes"), faces, answer.width_px, answer.height_px, mirrored);
  drawCards($("boxes"), $("faces"), faces, labels);
  latestAnswer = answer;
  $("copy").hidden = false;
  $("nobody").hidden = faces.length > 0;
  $("nobody").textContent = "No face found.";
  return faces;
}

async function usePicture(file) {
  stopCamera();
  const mine = ++latestPicture;
  fail("");
  unpin();
  $("summary").textContent = "Analysing…";
  const began = performance.now();
  try {
    const answer = await predict(file);
    const took = Math.round(performance.now() - began);
    if (mine !== latestPicture) return;
    await load(file);
    if (mine !== latestPicture) return;
    const faces = draw(answer, false);
    $("summary").textContent = `${faces.length} ${faces.length === 1 ? "face" : "faces"} in ${took} ms`;
    $("live").textContent = sentence(faces);
  } catch (refused) {
    if (mine !== latestPicture) return;
    $("summary").textContent = "";
    drawCards($("boxes"), $("faces"), [], labels);
    showNothing();
    fail(refused.message);
    if (refused.status === 401) start();
  }
}

async function load(file) {
  const image = $("picture");
  if (image.src) URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
  await image.decode().catch(() => { throw new Error("The browser cannot show this file as a picture."); });
  image.alt = `The picture ${file.name}`;
  show(image, image.naturalWidth, image.naturalHeight);
}

async function startCamera() {
  fail("");
  if (!navigator.mediaDevices) {
    return fail("Browsers allow a webcam only on localhost or over HTTPS. Use one of the two.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: FRAME_PX } } });
  } catch (error) {
    return fail(error.name === "NotFoundError" ? "No webcam was found. Connect one." : "The webcam is blocked or in use. Allow it in the browser, and close other programs.");
  }
  latestPicture++;
  const video = $("video");
  video.srcObject = stream;
  await video.play();
  show(video, video.videoWidth, video.videoHeight);
  unpin();
  history.clear();
  $("history").hidden = false;
  $("webcam").setAttribute("aria-pressed", "true");
  $("webcam").textContent = "Stop the webcam";
  $("pause").textContent = "Pause";
  $("pause").hidden = false;
  camera = { stream, live: connected(), paused: false, said: "", saidAt: 0 };
  sendFrames(camera, document.createElement("canvas"));
}

function connected() {
  return new Live({ answered, ended: (reason) => { stopCamera(); fail(reason); } });
}

// A pause takes no frames and holds no connection: the server ends an idle one.
function pauseCamera() {
  const video = $("video");
  const tracks = camera.stream.getTracks();
  camera.paused = !camera.paused;
  $("pause").textContent = camera.paused ? "Continue" : "Pause";
  if (camera.paused) {
    video.pause();
    camera.live.close();
    for (const track of tracks) track.enabled = false;
    $("summary").textContent = "Paused";
    $("live").textContent = "Paused";
  } else {
    for (const track of tracks) track.enabled = true;
    video.play();
    $("summary").textContent = "";
    camera.live = connected();
  }
}

async function sendFrames(mine, canvas) {
  const video = $("video");
  while (camera === mine) {
    await new Promise((resume) => requestAnimationFrame(resume));
    if (mine.paused || !mine.live.ready || !video.videoWidth) continue;
    const scale = Math.min(1, FRAME_PX / Math.max(video.videoWidth, video.videoHeight));
    canvas.width = Math.round(scale * video.videoWidth);
    canvas.height = Math.round(scale * video.videoHeight);
    const captured = performance.now();
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.85));
    if (blob && camera === mine && !mine.paused) mine.live.send(blob, captured);
  }
}

function answered(answer, roundTripMs) {
  if (answer.error) return fail(answer.error);
  fail(answer.health === "ok" ? "" : `${answer.health_reasons[0]}.`);
  const faces = draw(answer, true);
  const now = performance.now();
  history.add(faces, now, roundTripMs);
  history.draw(now);
  $("summary").textContent = answer.dropped ? `${answer.dropped} ${answer.dropped === 1 ? "frame" : "frames"} dropped` : "";
  say(faces, now);
}

async function useExample() {
  try {
    const file = await (await fetch($("example-picture").src)).blob();
    await usePicture(new File([file], "example.jpg", { type: file.type }));
  } catch {
    fail("The server does not answer. Check that it runs.");
  }
}

async function copyAnswer() {
  const button = $("copy");
  button.textContent = (await copied(JSON.stringify(latestAnswer, null, 1))) ? "Copied" : "Not copied";
  $("live").textContent = button.textContent;
  setTimeout(() => { button.textContent = "Copy JSON"; }, SAID_MS);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // over HTTP, browsers have the old way only
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

function paste(event) {
  if (event.target.closest?.("input")) return; // the token
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
  if (file) return usePicture(file);
  fail("The clipboard holds no picture. Copy one first.");
}

function say(faces, now) {
  const gist = faces.map((face) => face.number + title(face)).join() || "nobody";
  if (gist === camera.said || now - camera.saidAt < SAY_EVERY_MS) return;
  Object.assign(camera, { said: gist, saidAt: now });
  $("live").textContent = sentence(faces);
}

function stopCamera() {
  if (!camera) return;
  camera.live.close();
  for (const track of camera.stream.getTracks()) track.stop();
  camera = null;
  $("video").srcObject = null;
  $("webcam").setAttribute("aria-pressed", "false");
  $("webcam").textContent = "Use the webcam";
  $("pause").hidden = true;
  $("summary").textContent = "";
  showNothing();
}

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  if ($("file").files.length) usePicture($("file").files[0]);
  $("file").value = ""; // the same picture may be chosen again
});
$("webcam").addEventListener("click", () => {
  if (camera) return stopCamera();
  starting ??= startCamera().finally(() => { starting = null; }); // once, however often it is pressed
});
$("pause").addEventListener("click", pauseCamera);
$("example").addEventListener("click", useExample);
$("copy").addEventListener("click", copyAnswer);
document.addEventListener("paste", paste);
linkBoxesAndCards($("boxes"), $("faces"));
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken($("token").value);
  fail("");
  start();
});
// A picture that is dropped beside the stage must not replace the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  $("stage").addEventListener(kind, (event) => {
    $("stage").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) usePicture(event.dataTransfer.files[0]);
  });
}
start();
