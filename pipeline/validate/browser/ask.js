// Loads a model as a page does, and asks it one question after another.
import { pipeline } from "MODULE";

let model;

export async function load(task, repository, options) {
  const began = performance.now();
  model = await pipeline(task, repository, options);
  return (performance.now() - began) / 1000;
}

export async function ask(question, options) {
  const began = performance.now();
  const answer = await model(question, options);
  return { answer: answer.tolist?.() ?? answer, seconds: (performance.now() - began) / 1000 };
}
