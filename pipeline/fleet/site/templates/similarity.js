
// Each text alone: in a batch, padding would be part of an embedding.
async function answer(embed) {
  const embedded = [];
  for (const id of ["one", "other"]) embedded.push((await embed(one(id).value, given.options)).tolist()[0]);
  const dot = (a, b) => a.reduce((sum, value, at) => sum + value * b[at], 0);
  const [own, other] = embedded;
  const cosine = dot(own, other) / Math.sqrt(dot(own, own) * dot(other, other));
  return `Cosine similarity ${cosine.toFixed(4)}, of ${own.length} dimensions`;
}
