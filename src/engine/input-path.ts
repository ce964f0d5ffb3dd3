// Where an input stands in a request body, for errors. Main thread; pure. Knows the key `inputs` and nothing else of bodies.

/** JSON pointer to an input of a body; undefined for bodies of another shape. */
export function inputPath(body: unknown, item: number): string | undefined {
  if (typeof body !== 'object' || body === null || !('inputs' in body)) return undefined;
  return Array.isArray(body.inputs) ? `/inputs/${item}` : '/inputs';
}
