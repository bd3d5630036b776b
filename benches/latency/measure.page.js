// Runs inside the viewer's page: reads the clock in every picture as it is shown.
/* global document, performance */

/** One text for the page: it is handed over as a function, so it refers to nothing around it. */
export function measure({ seconds, warmUpMs, width }) {
  const COLUMNS = 16;
  const ROWS = 4;
  /** Pixels of a block on the canvas; its middle is looked at. */
  const SCALE = 4;

  const video = document.getElementById("video");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [COLUMNS * SCALE, ROWS * SCALE];
  const context = canvas.getContext("2d", { willReadFrequently: true });

  /** Microseconds since the epoch, or null if the blocks do not agree with their check. */
  const readClock = () => {
    const [w, h] = [canvas.width, canvas.height];
    // Of whatever size the picture is at the moment.
    const block = video.videoWidth / 20;
    context.drawImage(video, 0, 0, COLUMNS * block, ROWS * block, 0, 0, w, h);
    const { data } = context.getImageData(0, 0, w, h);
    const white = (bit) => {
      const x = (bit % COLUMNS) * SCALE + SCALE / 2;
      const y = Math.floor(bit / COLUMNS) * SCALE + SCALE / 2;
      return data[(y * w + x) * 4 + 1] > 128;
    };
    const bytes = Array.from({ length: 8 }, (_, i) =>
      Array.from({ length: 8 }, (_, j) => white(i * 8 + j)).reduce((byte, bit) => byte * 2 + bit, 0));
    const check = bytes.pop();
    if (bytes.reduce((sum, byte) => sum ^ byte, 0x5a) !== check) return null;
    return bytes.reduce((micros, byte) => micros * 256 + byte, 0);
  };

  // performance.timeOrigin may be off by the clock's corrections; a tick of Date is not.
  const before = Date.now();
  let tick = before;
  while (tick === before) tick = Date.now();
  const epoch = tick - performance.now();

  return new Promise((resolve) => {
    const latencies = [];
    let [unread, small, gap, last] = [0, 0, 0, null];
    const begin = performance.now() + warmUpMs;
    const onFrame = () => {
      const shown = performance.now();
      if (shown > begin + seconds * 1000) return resolve({ latencies, unread, small, gap });
      video.requestVideoFrameCallback(onFrame);
      if (shown < begin) return undefined;
      if (last !== null) gap = Math.max(gap, shown - last);
      last = shown;
      if (video.videoWidth < width) small += 1;
      const micros = readClock();
      if (micros === null) unread += 1;
      else latencies.push(epoch + shown - micros / 1000);
      return undefined;
    };
    video.requestVideoFrameCallback(onFrame);
  });
}
