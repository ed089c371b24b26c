import type {ComponentChildren, JSX} from "preact";
import {useId} from "preact/hooks";

export interface Column<T> {
  title: string;
  cell: (item: T) => ComponentChildren;
  end?: boolean; // numbers
  head?: boolean; // the column whose cells name their line
  hideTitle?: boolean; // for a column of buttons
}

interface Props<T> {
  caption: string;
  hideCaption?: boolean;
  columns: Column<T>[];
  items: T[];
  keyOf: (item: T) => string;
}

// Table is a table in a frame that scrolls where the page is too narrow, also by keyboard.
export function Table<T>(p: Props<T>): JSX.Element {
  const id = useId();
  return (
    <div class="table-frame" role="region" aria-labelledby={id} tabIndex={0}>
      <table class="table">
        <caption id={id}><span class={p.hideCaption ? "visually-hidden" : undefined}>{p.caption}</span></caption>
        <thead>
          <tr>
            {p.columns.map((c) => (
              <th key={c.title} scope="col" class={c.end ? "end" : undefined}><span class={c.hideTitle ? "visually-hidden" : undefined}>{c.title}</span></th>
            ))}
          </tr>
        </thead>
        <tbody>
          {p.items.map((item) => (
            <tr key={p.keyOf(item)}>
              {p.columns.map((c) =>
                c.head ? <th key={c.title} scope="row">{c.cell(item)}</th> : <td key={c.title} class={c.end ? "end" : undefined}>{c.cell(item)}</td>,
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
