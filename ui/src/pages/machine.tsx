//! One machine: where it is and was, where its packets can be seen, its captures, and Capture.

import { useState } from 'preact/hooks'
import { api, type Found, plainId, type Plan, type Session, type Vnic } from '../api'
import { Badge, Copy, Empty, Head, Icon, machineTone, Scroll, Waiting, Wrong } from '../parts/basics'
import { CaptureDialog, titleOf } from '../parts/capture'
import { kindOf } from '../parts/drawing'
import { TimeBar } from '../parts/timebar'
import { ago, asked, count, quoted, utc, when } from '../format'
import { isConnected, live, useLive, useLoaded } from '../live'
import { go, link } from '../route'

export function MachinePage({ id, words }: { id: string; words: Record<string, string> }) {
  const at = words.at ?? null
  const found = useLoaded(() => api.machines({ what: id, at, limit: 5 }), [id, at], at ? [] : ['machines'])
  const captures = useLoaded(() => api.sessions(), [], ['sessions'])
  const items = found.value?.items ?? []
  // While it moves two hosts have it: the one where it runs is the one that counts.
  const here = items.find(({ machine }) => machine.state === 'running') ?? items[0]
  const machine = here?.machine
  const isCapturing = words.capture === '1' && machine && !at
  const to = (more: Record<string, string | null>) => link(['machine', id], { at, ...more })
  if (found.value && !machine) {
    return (
      <>
        <Head title="No such machine" above={<a href="#/machines">Machines</a>}>{at && <TimeBar at={at} go={(at) => go(to({ at }), true)} />}</Head>
        <Empty title={at ? 'It was not known then' : 'It is not there, or you have no grant for it'}>
          <p class="mono">{id}</p>
          {found.value.suggestions.length > 0 && <p>Perhaps {found.value.suggestions.map((name, i) => <>{i > 0 && ', '}<a href={link(['machines'], { what: name })}>{name}</a></>)}?</p>}
        </Empty>
      </>
    )
  }
  const own = (captures.value?.items ?? []).filter((session) => machine && isOf(session, machine.id, machine.name))
  return (
    <>
      <Head title={machine?.name ?? '…'} above={<a href="#/machines">Machines</a>}>
        <TimeBar at={at} go={(at) => go(to({ at }), true)} />
        {machine && <a class="button" href={link(['traffic'], { filter: `vm=${machine.tenant ? `${machine.tenant}/` : ''}${machine.name}`, by: 'apps' })}><Icon name="traffic" /> Traffic</a>}
        {machine && !at && <a class="button solid" href={to({ capture: '1' })}><Icon name="record" filled /> Capture</a>}
      </Head>
      {found.problem && <Wrong problem={found.problem} again={found.again} />}
      {!machine && !found.problem && <Waiting what="the machine" />}
      {here && machine && (
        <>
          <p class="sums">
            <Badge tone={machineTone(machine.state)}>{machine.state === 'shutoff' ? 'shut off' : machine.state}</Badge>
            <span>on <a href={link(['topology', here.host], { at })}><b>{here.host}</b></a>{!isConnected(here.host_state) && <> <Badge tone="warn">host is away</Badge></>}</span>
            {machine.tenant && <span>tenant <b>{machine.tenant}</b></span>}
            <span class="quiet-text">{machine.kind === 'vm' ? 'VM' : machine.kind}{machine.since && <>, so since {when(Date.parse(machine.since))}</>}</span>
          </p>
          {items.length > 1 && <p class="note" role="status">It is on its way: {items.map((item) => `${item.host} has it as ${item.machine.state}`).join(', ')}.</p>}
          <Where vnics={machine.vnics} host={here.host} at={at} />
          {!at && <Points found={here} />}
          <Captures sessions={own} problem={captures.problem} isKnown={captures.value !== null} />
          {!at && <Past found={here} id={id} />}
          <section>
            <h2>Identity</h2>
            <dl class="pairs">
              <dt>Id</dt><dd class="mono">{machine.id}</dd>
              {machine.aliases.length > 0 && <><dt>Also called</dt><dd>{machine.aliases.join(', ')}</dd></>}
            </dl>
          </section>
        </>
      )}
      {isCapturing && <CaptureDialog machine={machine} filter={words.filter} close={() => go(to({ capture: null }), true)} />}
    </>
  )
}

/** The way of its frames: one line for each vNIC and way out, from the machine to the wire. */
function Where({ vnics, host, at }: { vnics: Vnic[]; host: string; at: string | null }) {
  return (
    <section>
      <h2>{at ? 'Where it was' : 'Where it is'}</h2>
      {vnics.length === 0 && <Empty title="It has no network card that is known" />}
      {vnics.map((vnic) => {
        const place = vnic.attachment
        return (
          <div class="vnic" key={vnic.name}>
            <p class="vnic-head"><b>{vnic.name}</b> <span class="mono">{vnic.mac ?? 'no MAC known'}</span> {vnic.ips.length > 0 ? <span class="mono">{vnic.ips.map(({ ip }) => ip).join(', ')}</span> : <span class="quiet-text">no address known</span>}</p>
            {!place ? <p class="quiet-text">It is attached to nothing now.</p> : (place.networks.length ? place.networks : [null]).map((network, i) => (
              <ol class="way" key={i} aria-label={`The way of the frames of ${vnic.name}`}>
                <li><small>host</small><a href={link(['topology', host], { at })}>{host}</a></li>
                <li><small>tap</small><span class="mono">{place.device ?? 'none on the host'}</span></li>
                {place.switch && <li><small>{kindOf(place.switch_kind)}</small><span>{place.switch}</span></li>}
                {place.port_group && <li><small>port group</small><span>{place.port_group}</span></li>}
                {network && <li><small>{network.vni !== null ? network.tunnel ?? 'overlay' : 'network'}</small><span>{[network.vlan !== null ? `VLAN ${network.vlan}` : '', network.vni !== null ? `VNI ${network.vni}` : ''].filter(Boolean).join(', ') || 'untagged'}</span></li>}
                {network && <li><small>{network.team ? `team ${network.team}` : 'uplink'}</small><span>{network.uplinks.length ? network.uplinks.map((uplink) => <span key={uplink.device} class={uplink.choice === 'standby' ? 'uplink quiet-text' : 'uplink'}><span class="mono">{uplink.device}</span> {uplink.choice !== 'only' && <small>{uplink.choice}</small>}</span>) : 'none known'}</span></li>}
              </ol>
            ))}
            {place?.notes.map((note) => <p key={note} class="quiet-text">{note}.</p>)}
          </div>
        )
      })}
    </section>
  )
}

/** Every place where its packets can be seen, the best first. */
function Points({ found }: { found: Found }) {
  const plan = useLoaded<Plan>(() => api.plan(plainId(found.machine.id), ''), [found.machine.id, found.host])
  return (
    <section>
      <h2>Where its packets can be seen</h2>
      {plan.problem && <Wrong problem={plan.problem} again={plan.again} />}
      {!plan.value && !plan.problem && <Waiting what="the plan" />}
      {plan.value?.points.length === 0 && <Empty title="Nowhere that is known" />}
      <ol class="places">
        {plan.value?.points.map((point) => (
          <li key={point.rank} class={point.refusal ? 'refused' : ''}>
            <h3>{titleOf(point)} {point.rank === 1 && !point.refusal && <Badge tone="good">best</Badge>}</h3>
            {point.refusal ? <p class="quiet-text">Cannot be used: {point.refusal}.</p> : (
              <>
                <dl class="pairs">
                  <dt>Sees</dt><dd>{point.sees}</dd>
                  {point.misses.length > 0 && <><dt>Misses</dt><dd>{point.misses.length === 1 ? point.misses[0] : <ul>{point.misses.map((miss) => <li key={miss}>{miss}</li>)}</ul>}</dd></>}
                  <dt>Costs</dt><dd>{point.costs}</dd>
                  <dt>Disturbs</dt><dd>{point.disturbs}</dd>
                </dl>
              </>
            )}
          </li>
        ))}
      </ol>
      {plan.value?.points.some((point) => !point.refusal) && (
        <div class="hand">
          <p class="quiet-text">Live into Wireshark, from a terminal that is logged in here:</p>
          <Copy label="Capture live into Wireshark" text={`overtap capture ${quoted(found.machine.name)} -w - | wireshark -k -i -`} />
        </div>
      )}
    </section>
  )
}

function Captures({ sessions, problem, isKnown }: { sessions: Session[]; problem: unknown; isKnown: boolean }) {
  if (problem || !isKnown) return null
  return (
    <section>
      <h2>Captures of it</h2>
      {sessions.length === 0 ? <Empty title="None of yours"><p>Captures are kept for a day after their end.</p></Empty> : (
        <Scroll label="Captures of it">
          <table class="dense">
            <thead><tr><th scope="col">Capture</th><th scope="col">State</th><th scope="col">Filter</th><th scope="col">Began</th><th scope="col" class="number">Packets</th></tr></thead>
            <tbody>
              {sessions.map((session) => (
                <tr key={session.id}>
                  <td><a href={link(['capture', session.id])}>{asked(session)}</a> <span class="quiet-text mono">{session.id}</span></td>
                  <td><Badge tone={session.state === 'running' ? 'busy' : 'quiet'}>{session.state}</Badge></td>
                  <td class="mono">{session.expression || 'all'}</td>
                  <td>{when(Date.parse(session.began))}</td>
                  <td class="number">{count(session.packets)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  )
}

interface Stay { host: string | null; from: number; until: number | null }

/** Where it was before: moves seen here, and what the controller remembers when asked. */
function Past({ found, id }: { found: Found; id: string }) {
  useLive('machines')
  const [stays, set] = useState<Stay[] | null>(null)
  const [isBusy, busy] = useState(false)
  const [note, tell] = useState('')
  const moves = live.moves.filter((move) => move.id === plainId(found.machine.id))
  const look = async () => {
    busy(true)
    tell('')
    try {
      set(await lookBack(id, 24))
    } catch (error) {
      tell((error as Error).message)
    }
    busy(false)
  }
  return (
    <section>
      <div class="section-head">
        <h2>Where it was</h2>
        <button type="button" disabled={isBusy} onClick={look}>{isBusy ? 'Looking …' : 'Look back 24 hours'}</button>
      </div>
      {note && <p class="bad-text" role="alert">{note}</p>}
      <div aria-live="polite">
        {stays ? (
          <>
            <ul class="stays">
              {stays.map((stay) => (
                <li key={stay.from}><b>{stay.host ?? 'not known'}</b> <span class="quiet-text">{stay.until ? `until ${when(stay.until)}` : 'until now'}, from {when(stay.from)}</span> <a href={link(['machine', id], { at: utc(stay.until ? stay.until - 1000 : stay.from) })}>as it was</a></li>
              ))}
            </ul>
            <p class="quiet-text">Asked for each hour and narrowed to a minute; a move there and back within an hour may not show.</p>
          </>
        ) : moves.length > 0 ? (
          <ul class="stays">{moves.map((move) => <li key={move.at_ms}><b>{move.from} → {move.to}</b> <span class="quiet-text">{when(move.at_ms)}, {ago(move.at_ms)}</span></li>)}</ul>
        ) : <p class="quiet-text">No move since this page was opened.</p>}
      </div>
    </section>
  )
}

/** The hosts it was on, the newest first: one question an hour, then halving around each change. */
async function lookBack(id: string, hours: number): Promise<Stay[]> {
  const now = Date.now()
  const host = async (ms: number) => {
    const answer = await api.machines({ what: id, at: ms >= now ? null : utc(ms), limit: 3 })
    return (answer.items.find(({ machine }) => machine.state === 'running') ?? answer.items[0])?.host ?? null
  }
  const times = Array.from({ length: hours + 1 }, (_, i) => now - i * 3_600_000)
  const seen: (string | null)[] = []
  for (let i = 0; i < times.length; i += 5) seen.push(...await Promise.all(times.slice(i, i + 5).map(host)))
  const stays: Stay[] = [{ host: seen[0] ?? null, from: now, until: null }]
  for (let i = 1; i < times.length; i++) {
    if (seen[i] !== seen[i - 1]) {
      let [early, late] = [times[i]!, times[i - 1]!]
      while (late - early > 60_000) {
        const middle = (early + late) / 2
        if (await host(middle) === seen[i]) early = middle
        else late = middle
      }
      stays.at(-1)!.from = late
      stays.push({ host: seen[i] ?? null, from: times[i]!, until: late })
    }
    stays.at(-1)!.from = Math.min(stays.at(-1)!.from, times[i]!)
  }
  return stays
}

const isOf = (session: Session, id: string, name: string) =>
  session.parts.some((part) => part.machine_id === id) || session.what.some((what) => plainId(what) === plainId(id) || what === name)
