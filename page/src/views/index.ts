import type {ComponentType} from "preact";
import type {Language} from "../lib/settings.ts";
import {Adapters} from "./adapters/index.tsx";
import {Chat} from "./chat/index.tsx";
import {Server} from "./server/index.tsx";
import {Compare} from "./compare/index.tsx";
import {Train} from "./train/index.tsx";

// A View is a place of the page: #/ID shows it, and the navigation has its title. A new one is a folder here and a line in
// the table below.
export interface View {
  id: string;
  title: Record<Language, string>;
  component: ComponentType;
}

export const views: View[] = [
  {id: "chat", title: {en: "Chat", zh: "对话"}, component: Chat},
  {id: "compare", title: {en: "Compare", zh: "比较"}, component: Compare},
  {id: "adapters", title: {en: "Adapters", zh: "适配器"}, component: Adapters},
  {id: "train", title: {en: "Train", zh: "训练"}, component: Train},
  {id: "server", title: {en: "Server", zh: "服务器"}, component: Server},
];
