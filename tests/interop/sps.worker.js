// Looks into the encoded frames for the sequence parameter set and hands them on unchanged.
/* global onrtctransform:writable, postMessage */

function findSps(bytes) {
  for (let i = 0; i + 6 < bytes.length; i += 1) {
    const start = bytes[i] === 0 && bytes[i + 1] === 0 && bytes[i + 2] === 1;
    if (start && (bytes[i + 3] & 0x1f) === 7) return bytes.subarray(i + 4, i + 7);
  }
  return null;
}

onrtctransform = ({ transformer }) => {
  const look = new TransformStream({
    transform(frame, controller) {
      const sps = findSps(new Uint8Array(frame.data));
      if (sps) postMessage([...sps].map((byte) => byte.toString(16).padStart(2, "0")).join(""));
      controller.enqueue(frame);
    },
  });
  transformer.readable.pipeThrough(look).pipeTo(transformer.writable);
};
