// A host of the kind that people run: a browser page that goes live with what it draws.

const canvas = document.body.appendChild(document.createElement("canvas"));
Object.assign(canvas, { width: 640, height: 360 });
const pen = canvas.getContext("2d");
let frame = 0;
setInterval(() => {
  frame += 1;
  pen.setTransform(canvas.width / 640, 0, 0, canvas.height / 360, 0, 0);
  const sky = pen.createLinearGradient(0, 0, 640, 360);
  sky.addColorStop(0, "#24405c");
  sky.addColorStop(1, "#7d9a8c");
  pen.fillStyle = sky;
  pen.fillRect(0, 0, 640, 360);
  pen.fillStyle = "#ffffff";
  pen.fillRect((frame * 6) % 640, 150, 36, 36);
  pen.font = "28px monospace";
  pen.fillText(new Date().toISOString().slice(11, 23), 40, 320);
}, 40);

const sound = new AudioContext();
const tone = sound.createOscillator();
const microphone = sound.createMediaStreamDestination();
tone.connect(microphone);
tone.start();

/** Goes live and serves viewers; resolves with the stream's id. */
window.goLive = ({ url, token, title, max = Infinity, audio = true, codec }) => {
  const media = new MediaStream([
    ...canvas.captureStream(25).getVideoTracks(),
    ...(audio ? microphone.stream.getAudioTracks() : []),
  ]);
  const socket = window.io(url, { auth: { token }, transports: ["websocket"], forceNew: true, reconnectionDelay: 200 });
  const branches = new Map();
  const host = { socket, branches, streamId: undefined };
  host.drop = (viewer) => {
    branches.get(viewer)?.close();
    branches.delete(viewer);
  };
  /** Sends everybody that rendition: the picture in its size, and the word to each. */
  host.send = (rendition, reason) => {
    const part = rendition === "first" ? 1 : 2;
    Object.assign(canvas, { width: 640 / part, height: 360 / part });
    for (const to of branches.keys()) socket.emit("live:rendition", { streamId: host.streamId, to, rendition, reason });
  };
  host.end = () => {
    socket.emit("live:end", { streamId: host.streamId });
    for (const viewer of [...branches.keys()]) host.drop(viewer);
  };

  socket.on("live:viewer-join", async ({ streamId, viewerSocketId: to }) => {
    host.drop(to);
    if (branches.size >= max) return socket.emit("live:viewer-refused", { streamId, to, reason: "full", max });
    const branch = new RTCPeerConnection();
    branches.set(to, branch);
    for (const track of media.getTracks()) branch.addTrack(track, media);
    branch.onicecandidate = ({ candidate }) => candidate && socket.emit("live:signal-ice", { streamId, to, candidate });
    const offer = await branch.createOffer();
    socket.emit("live:signal-offer", { streamId, to, offer: codec ? renamed(offer, codec) : offer });
    await branch.setLocalDescription(offer);
  });
  socket.on("live:signal-answer", ({ from, answer }) => branches.get(from)?.setRemoteDescription(answer).catch(() => {}));
  socket.on("live:signal-ice", ({ from, candidate }) => branches.get(from)?.addIceCandidate(candidate).catch(() => {}));
  socket.on("live:viewer-left", ({ viewerSocketId }) => host.drop(viewerSocketId));
  window.host = host;
  return new Promise((resolve) => {
    socket.on("connect", () =>
      socket.emit("live:start", { title }, ({ streamId }) => {
        host.streamId = streamId;
        resolve(streamId);
      }),
    );
  });
};

/** The offer with every video format called by a name that no browser knows. */
function renamed({ type, sdp }, codec) {
  const [head, ...media] = sdp.split(/^(?=m=)/m);
  const other = media.map((section) =>
    section.startsWith("m=video") ? section.replaceAll(/^(a=rtpmap:\d+ )\w+/gm, `$1${codec}`) : section,
  );
  return { type, sdp: head + other.join("") };
}
