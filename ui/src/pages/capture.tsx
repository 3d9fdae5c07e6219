//! One capture session: what it sees now, where, what became of every packet, and how to get them.

import { useEffect, useState } from 'preact/hooks'
import { api, type Me, type Problem, type Session } from '../api'
import { Badge, Copy, Dialog, Empty, Head, Icon, Scroll, Sure, Waiting, Wrong } from '../parts/basics'
import { FilterField } from '../parts/filter'
import { Lanes } from '../parts/lanes'
import { Packets } from '../parts/packets'
import { Rate } from '../parts/rate'
import { Flow } from '../parts/receipt'
import { asked, bytes, count, millis, span, when } from '../format'
import { useLoaded } from '../live'
import { go, link } from '../route'

export function CapturePage({ id, me }: { id: string; me: Me }) {
  const [isOver, over] = useState(false)
  const { value: session, problem, again } = useLoaded(() => api.session(id), [id], ['sessions'], isOver ? 0 : 1000)
  const isRunning = session?.state === 'running'
  const isComplete = session?.is_complete ?? false
  useEffect(() => { over(isComplete) }, [isComplete])
  const now = useNow(isRunning)
  const [failed, fail] = useState<Problem | null>(null)
  const [isStopping, stopping] = useState(false)
  const [isFiltering, filtering] = useState(false)
  if (!session) {
    return (
      <>
        <Head title={problem ? 'No such capture' : '…'} above={<a href="#/captures">Captures</a>} />
        {problem ? <Wrong problem={problem} again={again} /> : <Waiting what="the capture" />}
      </>
    )
  }
  const isMine = session.owner === me.name
  const seconds = ((session.ended ? Date.parse(session.ended) : now) - Date.parse(session.began)) / 1000
  const stop = async () => {
    stopping(true)
    try {
      await api.stop(id)
      fail(null)
    } catch (error) {
      fail(error as Problem)
    }
    stopping(false)
    again()
  }
  const machine = session.parts.at(-1)
  return (
    <>
      <Head title={<>{asked(session)} <span class="quiet-text mono">{session.id}</span></>} above={<a href="#/captures">Captures</a>}>
        {isRunning && <button type="button" class="solid danger" disabled={isStopping} onClick={stop}><Icon name="stop" filled /> {isStopping ? 'Stopping …' : 'Stop'}</button>}
        {isMine && <a class={isRunning ? 'button' : 'button solid'} href={api.file(id)} download={`${session.id}.pcapng`}><Icon name="download" /> Download</a>}
        {isRunning && isMine && <button type="button" onClick={() => filtering(true)}>Change filter</button>}
        <Sure label="Remove" question={`Remove ${session.id}: it ends, and its packets are gone at every host.`} act={async () => { await api.remove(id); go('#/captures') }} />
      </Head>
      {failed && <Wrong problem={failed} />}
      {problem && <Wrong problem={problem} again={again} />}
      <p class="sums">
        {isRunning ? <Badge tone="busy"><Icon name="record" filled /> running</Badge> : <Badge tone="quiet">ended: {session.end}</Badge>}
        <span><b class="mono">{count(session.packets)}</b> packets</span>
        <span><b class="mono">{bytes(session.bytes)}</b></span>
        <span><b class="mono">{span(seconds)}</b></span>
        {session.lost > 0 ? <Badge tone="bad">{count(session.lost)} lost at the hosts</Badge> : <span class="quiet-text">no packet lost</span>}
        {machine && <span>now at <a href={link(['machine', machine.machine_id.replace(/^uuid:/, '')])}>{machine.machine}</a> on <a href={link(['topology', machine.host])}>{machine.host}</a></span>}
      </p>
      {session.awaited.length > 0 && <p class="note">Still waiting for {session.awaited.join(', ')}.</p>}
      {isRunning && session.parts.length === 0 && <Empty title="No host captures yet"><p>It begins where the machine appears, within a second of when its agent knows.</p></Empty>}
      {isRunning && <Rate session={session} />}
      {!isRunning && <Account session={session} />}
      <Packets session={id} isRunning={isRunning ?? false} owner={session.owner} isMine={isMine} />
      {session.parts.length > 0 && (
        <section>
          <h2>Where it was captured</h2>
          <Lanes session={session} now={now} />
        </section>
      )}
      {isRunning && <Account session={session} />}
      {isMine && (
        <section>
          <h2>Open in Wireshark</h2>
          <Copy label="Open this capture in Wireshark" text={`overtap sessions fetch ${session.id} -w - | wireshark -k -i -`} />
          <p class="quiet-text">In a terminal that is logged in here; shows a running capture live. {isRunning ? 'Download waits for the end of the capture.' : ''}</p>
        </section>
      )}
      <section>
        <h2>What was asked for</h2>
        <dl class="pairs">
          <dt>Filter</dt><dd class="mono">{session.expression || 'all packets'}</dd>
          <dt>Point</dt><dd>{session.point}</dd>
          <dt>Kept of each</dt><dd>{session.snaplen >= 262_144 ? 'all of it' : `${session.snaplen} bytes`}</dd>
          <dt>By</dt><dd>{session.owner}{session.reason && <>, because: {session.reason}</>}</dd>
          <dt>Began</dt><dd>{when(Date.parse(session.began))}</dd>
          <dt>{session.ended ? 'Ended' : 'Ends at the latest'}</dt><dd>{when(Date.parse(session.ended ?? session.until))}</dd>
        </dl>
      </section>
      <Parts session={session} />
      {session.notes.length > 0 && (
        <section>
          <h2>What happened</h2>
          <ul class="notes">
            {session.notes.map((note) => <li key={`${note.at}${note.text}`} class={note.is_refusal ? 'refused' : ''}><span class="mono">{when(Date.parse(note.at))}</span> {note.host && <b>{note.host}: </b>}{note.text}</li>)}
          </ul>
        </section>
      )}
      {isFiltering && <Refilter session={session} close={() => { filtering(false); again() }} />}
    </>
  )
}

/** The account, once hosts have told theirs. */
function Account({ session }: { session: Session }) {
  const told = session.parts.filter((part) => part.end !== null).length
  const { value, problem } = useLoaded(() => (told > 0 ? api.receipt(session.id) : Promise.resolve(null)), [session.id, told, session.state, session.is_complete])
  return (
    <section>
      <h2>Receipt</h2>
      {problem && <Wrong problem={problem} />}
      {value && value.total.received > 0 ? <Flow receipt={value} />
        : !problem && <p class="quiet-text">{session.state === 'running' ? 'Hosts tell their account when their part ends: what the interface saw, what was dropped and why, what was kept.' : value ? 'The hosts saw no packet that reached overtap.' : 'No host has told its account.'}</p>}
    </section>
  )
}

function Parts({ session }: { session: Session }) {
  if (session.parts.length === 0) return null
  return (
    <section>
      <h2>Parts</h2>
      <Scroll label="Parts">
        <table class="dense">
          <thead><tr><th scope="col">Host</th><th scope="col">Machine</th><th scope="col">Point</th><th scope="col">Began</th><th scope="col" class="number">Packets</th><th scope="col" class="number">Bytes</th><th scope="col" class="number">Dropped</th><th scope="col" class="number">Clock ahead</th><th scope="col">End</th></tr></thead>
          <tbody>
            {session.parts.map((part) => (
              <tr key={`${part.agent}${part.number}`}>
                <td><b>{part.host}</b>{!part.is_reachable && <> <Badge tone="warn">away</Badge></>}</td>
                <td>{part.machine}</td>
                <td>{part.point}</td>
                <td>{when(Date.parse(part.began))}</td>
                <td class="number">{count(part.packets)}</td>
                <td class="number">{bytes(part.bytes)}</td>
                <td class={part.kernel_dropped + part.failed ? 'number bad-text' : 'number'}>{count(part.kernel_dropped + part.failed)}</td>
                <td class="number">{part.clock ? `${millis(part.clock.ahead_ms)} ± ${millis(part.clock.uncertainty_ms)}` : '–'}</td>
                <td>{part.end ?? 'goes on'}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  )
}

function Refilter({ session, close }: { session: Session; close: () => void }) {
  const [expression, set] = useState(session.expression)
  const [isBad, bad] = useState(false)
  const [problem, fail] = useState<Problem | null>(null)
  const submit = (event: Event) => {
    event.preventDefault()
    if (!isBad) api.refilter(session.id, expression.trim()).then(close, fail)
  }
  return (
    <Dialog title="Change the filter" close={close}>
      <form onSubmit={submit}>
        {problem && <Wrong problem={problem} />}
        <FilterField value={expression} change={set} bad={bad} />
        <p class="plain quiet-text">From now on other packets of the same machines. What both filters take is there at the switch-over, once.</p>
        <div class="acts"><button type="button" onClick={close}>Cancel</button><button type="submit" class="solid" disabled={isBad}>Change</button></div>
      </form>
    </Dialog>
  )
}

/** The time, each second while `isRunning`. */
function useNow(isRunning: boolean | undefined): number {
  const [now, set] = useState(Date.now())
  useEffect(() => {
    if (!isRunning) return undefined
    const timer = setInterval(() => set(Date.now()), 1000)
    return () => clearInterval(timer)
  }, [isRunning])
  return now
}
