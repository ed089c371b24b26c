import type {JSX, TargetedEvent} from "preact";
import {useRef, useState} from "preact/hooks";
import {useWords} from "../lib/words.ts";
import {Button} from "./button.tsx";
import {words} from "./words.ts";

// A Dropped is a file with its path in the folder that was dropped or chosen; of a lone file, its name.
export interface Dropped {
  path: string;
  file: File;
}

interface Props {
  label: string; // what may be dropped
  onFiles: (files: Dropped[]) => void;
  accept?: string; // as of <input type=file>
  multiple?: boolean;
  folder?: boolean; // whether a folder may be chosen, too
  disabled?: boolean;
}

// FileDrop takes files that are dropped on it, folders with all that is in them, or files chosen with its buttons.
export function FileDrop(p: Props): JSX.Element {
  const w = useWords(words);
  const [over, setOver] = useState(false);
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);

  const chosen = (e: TargetedEvent<HTMLInputElement>): void => {
    const list = [...(e.currentTarget.files ?? [])].map((file) => ({path: file.webkitRelativePath || file.name, file}));
    e.currentTarget.value = ""; // so that the same file can be chosen again
    if (list.length > 0) p.onFiles(list);
  };
  const dropped = async (e: DragEvent): Promise<void> => {
    const entries = [...(e.dataTransfer?.items ?? [])].map((i) => i.webkitGetAsEntry()).filter((x) => x !== null);
    const plain = [...(e.dataTransfer?.files ?? [])].map((file) => ({path: file.name, file})); // of what is dragged from no folder
    const list = entries.length > 0 ? (await Promise.all(entries.map(walk))).flat() : plain;
    if (list.length > 0) p.onFiles(p.multiple || p.folder ? list : list.slice(0, 1));
  };
  return (
    <div
      class={over ? "drop over" : "drop"} role="group" aria-label={p.label}
      onDragOver={(e) => {
        e.preventDefault();
        setOver(!p.disabled);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(e) => {
        e.preventDefault();
        setOver(false);
        if (!p.disabled) void dropped(e);
      }}
    >
      <p>{p.label}</p>
      <div class="row">
        <Button disabled={p.disabled} onClick={() => files.current?.click()}>{w.chooseFiles}</Button>
        {p.folder && <Button disabled={p.disabled} onClick={() => folder.current?.click()}>{w.chooseFolder}</Button>}
      </div>
      <input ref={files} type="file" hidden aria-label={w.chooseFiles} accept={p.accept} multiple={p.multiple} onChange={chosen} />
      {p.folder && <input ref={folder} type="file" hidden aria-label={w.chooseFolder} {...{webkitdirectory: true}} onChange={chosen} />}
    </div>
  );
}

// walk lists the files below an entry, 1000 at most.
async function walk(entry: FileSystemEntry): Promise<Dropped[]> {
  const found: Dropped[] = [];
  const open = [entry];
  for (let next = open.pop(); next !== undefined && found.length < 1000; next = open.pop()) {
    if (next.isFile) {
      const one = next as FileSystemFileEntry;
      const file = await new Promise<File>((resolve, reject) => one.file(resolve, reject));
      found.push({path: one.fullPath.replace(/^\//, ""), file});
    } else {
      const reader = (next as FileSystemDirectoryEntry).createReader();
      for (;;) {
        const batch = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
        if (batch.length === 0) break;
        open.push(...batch);
      }
    }
  }
  return found;
}
