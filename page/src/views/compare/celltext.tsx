import type {JSX} from "preact";
import type {Piece} from "../../lib/diff.ts";
import {useWords} from "../../lib/words.ts";
import type {Cell} from "./question.ts";
import {words} from "./words.ts";

// CellText is an answer with the pieces marked that differ from the first one; without pieces it is shown as it is.
export function CellText(p: {cell: Cell; pieces: Piece[] | undefined; missing: boolean}): JSX.Element {
  const w = useWords(words);
  const text = p.cell.answer?.text ?? "";
  return (
    <>
      {p.cell.answer !== undefined && p.cell.answer.reasoning !== "" && text === "" && <p class="cell-text muted">{p.cell.answer.reasoning}</p>}
      {p.pieces === undefined
        ? text !== "" && <p class="cell-text">{text}</p>
        : (
          <p class="cell-text">
            {p.pieces.map((piece, i) => {
              if (piece.kind === "same") return <span key={i}>{piece.text}</span>;
              if (piece.kind === "added") return <ins key={i}>{piece.text}</ins>;
              return p.missing ? <del key={i}>{piece.text}</del> : null;
            })}
          </p>
        )}
      {(p.cell.state === "waiting" || (p.cell.state === "running" && text === "")) && <p class="muted small">{w.waiting}</p>}
      {p.cell.state === "stopped" && <p class="muted small">{w.stopped}</p>}
    </>
  );
}
