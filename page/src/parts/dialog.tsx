import type {ComponentChildren, JSX} from "preact";
import {useEffect, useId, useRef} from "preact/hooks";
import {useWords} from "../lib/words.ts";
import {Button} from "./button.tsx";
import {icons} from "./icons.tsx";
import {words} from "./words.ts";

interface Props {
  title: string;
  open: boolean;
  onClose: () => void;
  wide?: boolean;
  children: ComponentChildren;
}

// Dialog is modal: the browser keeps the focus inside, and gives it back to what had it.
export function Dialog(p: Props): JSX.Element | null {
  const w = useWords(words);
  const id = useId();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const d = dialog.current;
    if (!p.open || d === null) return;
    const opener = document.activeElement;
    d.showModal();
    return () => {
      d.close(); // it is out of the document already, where it does not give the focus back by itself
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, [p.open]);
  if (!p.open) return null;
  return (
    <dialog
      ref={dialog} class={p.wide ? "dialog wide" : "dialog"} aria-labelledby={id}
      onCancel={(e) => {
        e.preventDefault();
        p.onClose();
      }}
    >
      <div class="dialog-head">
        <h2 id={id}>{p.title}</h2>
        <Button kind="quiet" small icon={icons.close()} label={w.close} onClick={p.onClose} />
      </div>
      <div class="dialog-body">{p.children}</div>
    </dialog>
  );
}

// Confirm asks before what cannot be undone.
export function Confirm(p: {title: string; text: string; action: string; open: boolean; onConfirm: () => void; onClose: () => void}): JSX.Element | null {
  const w = useWords(words);
  return (
    <Dialog title={p.title} open={p.open} onClose={p.onClose}>
      <p>{p.text}</p>
      <div class="dialog-foot">
        <Button onClick={p.onClose}>{w.cancel}</Button>
        <Button kind="danger" onClick={p.onConfirm}>{p.action}</Button>
      </div>
    </Dialog>
  );
}
