// Finds the name that a typing error was meant to be. Pure; runs anywhere.

/** The known name with the fewest edits to `name`; the prefix `GLOSSA_` does not count. */
export function nearestName(name: string, known: readonly string[]): string {
  const stem = (text: string): string => text.replace(/^GLOSSA_/u, '');
  let best = '';
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const distance = editDistance(stem(name), stem(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein distance; O(left × right). */
function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let at = 0; at < left.length; at++) {
    const next = [at + 1];
    for (let to = 0; to < right.length; to++) {
      const replace = (row[to] as number) + (left[at] === right[to] ? 0 : 1);
      next.push(Math.min(replace, (row[to + 1] as number) + 1, (next[to] as number) + 1));
    }
    row = next;
  }
  return row[right.length] as number;
}
