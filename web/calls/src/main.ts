/** The page of calls: the list, or one call, by its address. */

import { roomOf } from "./addresses";
import { CallView } from "./call_view";
import { isRunning } from "./concerns";
import { byId } from "./dom";
import { ListView } from "./list_view";
import { Refresher } from "./refresher";
import { readSearch } from "./search";
import { fetchCall, fetchCalls } from "./service";

const REFRESH_MS = 4000;
/** Under this name a tab remembers which list somebody came from. */
const LAST_LIST = "calls-list";

async function showList(): Promise<void> {
  sessionStorage.setItem(LAST_LIST, location.pathname + location.search);
  const view = new ListView();
  const load = async (): Promise<void> => {
    view.showLoading();
    const { value, problem } = await fetchCalls(readSearch(location.search), Date.now());
    if (problem === undefined) view.showCalls(value);
    else view.showProblem(problem, () => void load());
    settled();
  };
  await load();
}

async function showCall(room: string): Promise<void> {
  const view = new CallView(sessionStorage.getItem(LAST_LIST) ?? "/calls");
  const session = new URLSearchParams(location.search).get("session") ?? undefined;
  const refresher = new Refresher(async (signal) => {
    const answer = await fetchCall(room, session, signal);
    if (answer === undefined) return true;
    settled();
    if (answer.problem !== undefined) {
      view.showProblem(answer.problem, () => void refresher.start());
      return answer.problem.passes;
    }
    view.showCall(answer.value, Date.now());
    return isRunning(answer.value);
  }, REFRESH_MS);
  view.showLoading();
  await refresher.start();
}

function settled(): void {
  byId("page").dataset.state = "ready";
}

const room = roomOf(location.pathname);
void (room === undefined ? showList() : showCall(room));
