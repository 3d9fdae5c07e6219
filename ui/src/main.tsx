//! The page of overtap: who is logged in, where one is, and the frame around every view.

import { render, type ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { api, type Me, type Problem, unauthorised } from './api'
import { Icon, type IconName, Waiting, Wrong } from './parts/basics'
import { Search } from './parts/search'
import { live, useLive } from './live'
import { go, link, type Route, useRoute } from './route'
import { AgentsPage } from './pages/agents'
import { AuditPage } from './pages/audit'
import { CapturePage } from './pages/capture'
import { CapturesPage } from './pages/captures'
import { enter, LoginPage } from './pages/login'
import { MachinePage } from './pages/machine'
import { MachinesPage } from './pages/machines'
import { PeoplePage } from './pages/people'
import { TrafficPage } from './pages/traffic'
import { TopologyPage } from './pages/topology'
import { theme } from './theme'

function App() {
  const route = useRoute()
  const [me, set] = useState<Me | null | undefined>(undefined)
  const [problem, setProblem] = useState<Problem | null>(null)
  const ask = () => {
    setProblem(null)
    api.me().then((me) => { set(me); live.begin() }, (problem: Problem) => (problem.status === 401 ? set(null) : setProblem(problem)))
  }
  useEffect(() => {
    void enter().then(ask)
    const out = () => { live.end(); set(null) }
    unauthorised.addEventListener('unauthorised', out)
    return () => unauthorised.removeEventListener('unauthorised', out)
  }, [])
  const place = route.path.join('/')
  // A reader that cannot see begins at the heading of the new page.
  useEffect(() => {
    const title = document.querySelector('h1')?.textContent
    document.title = title ? `${title} · overtap` : 'overtap'
    if (document.activeElement === document.body || document.activeElement?.closest('nav, .found')) document.querySelector('h1')?.focus({ preventScroll: true })
    scrollTo(0, 0)
  }, [place, me])
  if (problem) return <main class="lonely"><Wrong problem={problem} again={ask} /></main>
  if (me === undefined) return <main class="lonely"><Waiting what="who you are" /></main>
  if (me === null) return <LoginPage done={ask} />
  return <Frame me={me} route={route} leave={() => { void api.logout().finally(() => { live.end(); set(null) }) }}>{view(route, me)}</Frame>
}

function view(route: Route, me: Me): ComponentChildren {
  const [first = 'topology', second] = route.path
  switch (first) {
    case 'topology': return <TopologyPage host={second ?? null} words={route.words} />
    case 'machines': return <MachinesPage words={route.words} />
    case 'machine': return <MachinePage key={second} id={second ?? ''} words={route.words} />
    case 'captures': return <CapturesPage words={route.words} me={me} />
    case 'capture': return <CapturePage key={second} id={second ?? ''} me={me} />
    case 'traffic': return <TrafficPage tab={second ?? ''} words={route.words} />
    case 'agents': return <AgentsPage me={me} />
    case 'people': return <PeoplePage me={me} tab={second ?? 'grants'} />
    case 'audit': return <AuditPage words={route.words} />
    default: return <Wrong problem={{ title: 'There is no such view', message: 'The link may be of another release.' } as Problem} again={() => go('#/topology')} />
  }
}

interface Item { path: string; name: string; icon: IconName; also?: string[]; isForAdmins?: boolean }

const ITEMS: Item[] = [
  { path: 'topology', name: 'Topology', icon: 'topology' },
  { path: 'machines', name: 'Machines', icon: 'machines', also: ['machine'] },
  { path: 'traffic', name: 'Traffic', icon: 'traffic' },
  { path: 'captures', name: 'Captures', icon: 'captures', also: ['capture'] },
  { path: 'agents', name: 'Agents', icon: 'agents' },
  { path: 'people', name: 'Access', icon: 'people' },
  { path: 'audit', name: 'Audit', icon: 'audit', isForAdmins: true },
]

function Frame({ me, route, leave, children }: { me: Me; route: Route; leave: () => void; children: ComponentChildren }) {
  const first = route.path[0] ?? 'topology'
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.querySelector('h1')?.focus() }}>To the content</a>
      <header class="top">
        <a class="brand" href="#/topology" aria-label="overtap, to the topology"><img src="icon.svg" alt="" width="26" height="26" /><span>overtap</span></a>
        <Search />
        <Line />
        <ThemeButton />
        <span class="who" title={`Logged in by ${me.via}`}>{me.name}{me.is_admin && <span class="quiet-text"> admin</span>}</span>
        <button type="button" class="quiet square" onClick={leave} aria-label="Log out" title="Log out"><Icon name="leave" /></button>
      </header>
      <nav class="rail" aria-label="Views">
        <ul>
          {ITEMS.filter((item) => me.is_admin || !item.isForAdmins).map((item) => (
            <li key={item.path}>
              <a href={link([item.path])} aria-current={first === item.path || item.also?.includes(first) ? 'page' : undefined}>
                <Icon name={item.icon} /><span>{item.name}</span>
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <main id="main">{children}</main>
    </>
  )
}

/** Whether what is shown is what is. */
function Line() {
  const { line } = useLive('line')
  const words = { opening: 'connecting', open: 'live', lost: 'no line' }[line]
  return <span class={`line ${line}`} role="status" title={line === 'lost' ? 'Changes do not come now; the page tries again by itself' : 'Changes come by themselves'}><i aria-hidden="true" />{words}</span>
}

function ThemeButton() {
  const [now, set] = useState(theme.now())
  const next = { auto: 'light', light: 'dark', dark: 'auto' }[now] as typeof now
  return (
    <button type="button" class="quiet square" aria-label={`Colours: ${now}. Change to ${next}`} title={`Colours: ${now}`} onClick={() => { theme.set(next); set(next) }}>
      <Icon name="theme" />
    </button>
  )
}

theme.set(theme.now())
render(<App />, document.getElementById('app')!)
