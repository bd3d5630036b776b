import type { Stream } from "./protocol";

/**
 * Whether `candidate` is the return of `old`: a host that goes live again gets a new stream id, and
 * only its user id and its title tell that it is the same. `beside` holds the ids of the streams
 * that were live together with `old`, which are the host's others. A user with two devices shows up
 * twice: then the title decides.
 */
export function isSuccessor(
  candidate: Stream,
  old: Stream,
  beside: ReadonlySet<string>,
  streams: readonly Stream[],
): boolean {
  const possible = (stream: Stream) =>
    stream.streamId !== old.streamId && !beside.has(stream.streamId) && stream.hostUserId === old.hostUserId;
  if (!possible(candidate)) return false;
  if (candidate.title === old.title) return true;
  return old.hostUserId !== "" && streams.filter(possible).length === 1;
}
