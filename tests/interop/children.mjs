// A run that is broken off leaves no process behind.

const children = new Set();

process.once("exit", () => children.forEach((child) => child.kill("SIGKILL")));

/** Kills a child process when this process exits before it. */
export function killAtExit(child) {
  children.add(child);
  child.once("exit", () => children.delete(child));
}
