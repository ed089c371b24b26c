"""Types as applications write them with pydantic. Without arguments, their schemas are printed as JSON; with the name of a
file of answers, {name: [text, ...]}, each is parsed with its type, and faults are printed."""

import json
import sys
from datetime import date, datetime, time, timedelta
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Dict, FrozenSet, Generic, List, Literal, Optional, Set, Tuple, TypeVar, Union
from uuid import UUID

from pydantic import UUID4, AnyUrl, BaseModel, ConfigDict, EmailStr, Field, HttpUrl, RootModel, StringConstraints, TypeAdapter, conint, conlist


class Color(str, Enum):
    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Address(BaseModel):
    street: str = Field(min_length=1, max_length=40)
    zip: str = Field(pattern=r"^\d{5}$")


class Person(BaseModel):
    name: str
    age: Annotated[int, Field(ge=0, lt=150)]
    email: Optional[EmailStr] = None
    color: Color = Color.RED
    level: Level


class Company(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    address: Address
    staff: List[Person] = Field(default_factory=list, max_length=2)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: UUID


class Node(BaseModel):
    value: int
    left: Optional["Node"] = None
    right: Optional["Node"] = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: conint(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    name: Annotated[str, StringConstraints(min_length=2, max_length=10, pattern="^[A-Z][a-z]+$")]


class Pet(BaseModel):
    pet: Union[Cat, Dog] = Field(discriminator="kind")


class Times(BaseModel):
    at: datetime
    day: date
    clock: time
    length: timedelta


class Net(BaseModel):
    v4: IPv4Address
    v6: IPv6Address
    url: AnyUrl
    site: HttpUrl
    id: UUID4


class Numbers(BaseModel):
    price: Annotated[float, Field(gt=0, le=1000)]
    step: Annotated[float, Field(multiple_of=0.25, ge=-2, le=2)]
    amount: Optional[float] = None
    even: Annotated[int, Field(multiple_of=2)]
    small: Annotated[int, Field(ge=-(2**31), lt=2**31)]


class Containers(BaseModel):
    pairs: List[Tuple[int, str]] = Field(max_length=2)
    names: Set[str] = Field(max_length=4)
    codes: FrozenSet[conint(ge=0, le=20)] = Field(min_length=3, max_length=8)
    counts: Dict[str, int] = Field(max_length=3)
    by_color: Dict[Color, float]
    matrix: conlist(conlist(float, min_length=2, max_length=2), min_length=1, max_length=2)
    anything: Any = None


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: List[T] = Field(max_length=2)
    next: Optional[str] = None


class Step(BaseModel):
    explanation: str = Field(description="What is done.")
    output: str


class Reasoning(BaseModel):
    """A chain of steps."""

    steps: list[Step]
    final_answer: str


class Search(BaseModel):
    query: str = Field(examples=["weather"])
    top_k: int = Field(5, ge=1, le=50)
    filters: Optional[Dict[str, Union[str, int, bool, List[str]]]] = None


class Expression(BaseModel):
    op: Literal["+", "-", "*"]
    left: Union[int, "Expression"]
    right: Union[int, "Expression"]


class Invoice(BaseModel):
    number: str = Field(pattern=r"^INV-\d{4}-[A-F0-9]{4}$")
    issued: date
    lines: List[Dict[Literal["sku", "qty"], Union[str, int]]] = Field(min_length=1, max_length=2)
    total: float = Field(ge=0, allow_inf_nan=False)
    paid: bool = False


types = {
    "person": Person, "company": Company, "open": Open, "node": Node, "pet": Pet, "times": Times, "net": Net, "numbers": Numbers,
    "containers": Containers, "page": Page[Address], "reasoning": Reasoning, "search": Search, "expression": Expression,
    "invoice": Invoice, "root": RootModel[Dict[str, List[int]]], "list": List[Person], "union": Union[int, str, None, Cat],
    "tuple": Tuple[int, Literal["a", "b"], Optional[bool]], "literal": Literal["x", 1, True, None], "nested": Page[Page[Pet]],
    "set of enum": Set[Color],
}
types = {name: TypeAdapter(t) for name, t in types.items()}

if len(sys.argv) > 1:
    with open(sys.argv[1]) as f:
        answers = json.load(f)
    for name, texts in answers.items():
        for text in texts:
            try:
                types[name].validate_json(text)
            except ValueError as e:
                print(f"{name}: {text}: {e}")
else:
    print(json.dumps({name: t.json_schema() for name, t in types.items()}))
