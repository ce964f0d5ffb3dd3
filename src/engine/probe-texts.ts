// Fixed texts for the invariance probe: eight of mixed length, case and script, so that padding and batch mates differ.
// Data only. Changing one changes what `invariance` means; it changes no answer.

export const probeTexts: readonly string[] = [
  'Good.',
  'The delivery was late, but the packaging saved it.',
  'Angela Merkel met the board of Siemens AG in Munich on Tuesday.',
  'I would not recommend this to anyone; the second half is a complete waste of time.',
  'Ist das wirklich alles? Ja, wirklich!',
  'A long and winding report about interest rates, exports to Brazil, the price of copper and the weather in the north of England, written by nobody in particular for a newspaper that closed last year.',
  'not bad at all',
  'In 1998, after four albums and one lawsuit, the band moved from Liverpool to New York City, where John and Maria Delgado recorded the songs that made them known.',
];
