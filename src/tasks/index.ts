// The registry of tasks; both threads import it. Adding a task is one line here.
import { embedding } from './embedding.ts';
import { type Task, type TaskName } from './task.ts';
import { textClassification } from './text-classification.ts';
import { tokenClassification } from './token-classification.ts';

export const tasks: readonly Task[] = [textClassification, tokenClassification, embedding];

/** Tasks by Hugging Face name. */
export const taskByName: ReadonlyMap<TaskName, Task> = new Map(tasks.map((task) => [task.name, task]));
